# SPDX-License-Identifier: Apache-2.0
"""For gunicorn in place of uWSGI: ``gunicorn --config /etc/usb-shim/gunicorn.conf.py``."""

wsgi_app = "compute_shim.wsgi.api:application"
# A proxy in front of it terminates TLS.
bind = "127.0.0.1:9815"
workers = 4
threads = 4
# It would be made in the home directory, which the user of the service does not have.
control_socket_disable = True
