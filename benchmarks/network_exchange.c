// SPDX-License-Identifier: Apache-2.0
// Asks a smart-card reader for the status of its slot, over and over: one message out and one back, as an APDU is.
//
//     network_exchange NODE COUNT
//
// NODE is the reader's below /dev/bus/usb. The messages are those of the CCID specification, revision 1.1, 6.1.5 and
// 6.2.2; the endpoints are those of QEMU's usb-ccid (hw/usb/dev-smartcard-reader.c).
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define BULK_OUT 0x03
#define BULK_IN 0x82
#define HEADER 10
#define GET_SLOT_STATUS 0x65
#define SLOT_STATUS 0x81
#define TIMEOUT_MS 10000

static int transfer(int node, unsigned int endpoint, void *data, unsigned int size) {
    struct usbdevfs_bulktransfer bulk = {.ep = endpoint, .len = size, .timeout = TIMEOUT_MS, .data = data};
    return ioctl(node, USBDEVFS_BULK, &bulk);
}

int main(int argc, char **argv) {
    unsigned int interface = 0;
    int node = argc == 3 ? open(argv[1], O_RDWR) : -1;
    if (node < 0 || ioctl(node, USBDEVFS_CLAIMINTERFACE, &interface) < 0) {
        perror("network_exchange");
        return 1;
    }
    for (int number = 0; number < atoi(argv[2]); number++) {
        unsigned char request[HEADER] = {GET_SLOT_STATUS}, answer[64];
        request[6] = number & 0xff; // bSeq
        if (transfer(node, BULK_OUT, request, sizeof request) < 0
            || transfer(node, BULK_IN, answer, sizeof answer) < HEADER
            || answer[0] != SLOT_STATUS || answer[6] != request[6]) {
            perror("network_exchange: no answer");
            return 1;
        }
    }
    return 0;
}
