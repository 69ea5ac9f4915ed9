// What Swift's Glibc module lacks: <malloc.h>, and what is declared only under _GNU_SOURCE.
#pragma once
#include <fcntl.h>
#include <malloc.h>
#include <sys/types.h>
#include <sys/uio.h>

extern int fallocate(int descriptor, int mode, off_t offset, off_t length);
extern ssize_t preadv2(int descriptor, const struct iovec *vectors, int count, off_t offset, int flags);
extern int sync_file_range(int descriptor, off_t offset, off_t length, unsigned int flags);

static const int LANFS_FALLOC_PUNCH_HOLE = 0x01 | 0x02;  // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
static const unsigned int LANFS_SYNC_FILE_RANGE_WRITE = 2;
static const int LANFS_RWF_NOWAIT = 8;
static const int LANFS_SEEK_DATA = 3;
static const int LANFS_O_DIRECT = __O_DIRECT;
