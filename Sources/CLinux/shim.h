// What Swift's Glibc module lacks: <malloc.h>, and what is declared only under _GNU_SOURCE.
#pragma once
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <malloc.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <sys/uio.h>
#include <unistd.h>

extern int fallocate(int descriptor, int mode, off_t offset, off_t length);
extern ssize_t preadv2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags);
extern ssize_t pwritev2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags);
extern int sync_file_range(int descriptor, off_t offset, off_t length, unsigned int flags);

// glibc has no functions for these.
static inline long lanfs_io_setup(unsigned int count, aio_context_t *context) {
    return syscall(SYS_io_setup, count, context);
}
static inline long lanfs_io_destroy(aio_context_t context) { return syscall(SYS_io_destroy, context); }
static inline long lanfs_io_submit(aio_context_t context, long count, struct iocb **blocks) {
    return syscall(SYS_io_submit, context, count, blocks);
}
static inline long lanfs_io_getevents(aio_context_t context, long least, long most, struct io_event *events) {
    return syscall(SYS_io_getevents, context, least, most, events, 0);
}

// To what writes past the page cache are aligned, in bytes; 0: this file has no such writes, or the kernel (before 6.1)
// does not say.
static inline unsigned int lanfs_direct_alignment(int descriptor) {
    struct statx information;
    if (syscall(SYS_statx, descriptor, "", 0x1000 /* AT_EMPTY_PATH */, STATX_DIOALIGN, &information) != 0) return 0;
    return information.stx_mask & STATX_DIOALIGN ? information.stx_dio_offset_align : 0;
}

static const unsigned short LANFS_IOCB_CMD_PWRITE = IOCB_CMD_PWRITE;

static const int LANFS_FALLOC_PUNCH_HOLE = 0x01 | 0x02;  // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
static const unsigned int LANFS_SYNC_FILE_RANGE_WRITE = 2;
static const int LANFS_RWF_NOWAIT = 8;
static const int LANFS_RWF_DONTCACHE = 0x80;  // Since Linux 6.14, where the file system knows it.
static const int LANFS_SEEK_DATA = 3;
static const int LANFS_O_DIRECT = __O_DIRECT;
