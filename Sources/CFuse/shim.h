// What Swift cannot import of libfuse and libc by itself: bit fields, variadic functions, fork, a few kernel structures.
#ifndef LANFS_CFUSE_SHIM_H
#define LANFS_CFUSE_SHIM_H

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <syslog.h>
#include <unistd.h>

// MARK: fuse_file_info's bit fields

static inline void lanfs_fuse_set_keep_cache(struct fuse_file_info *info, int on) { info->keep_cache = on ? 1 : 0; }
static inline void lanfs_fuse_set_direct_io(struct fuse_file_info *info, int on) { info->direct_io = on ? 1 : 0; }
static inline void lanfs_fuse_set_cache_readdir(struct fuse_file_info *info, int on) { info->cache_readdir = on ? 1 : 0; }

// MARK: the kernel's protocol beyond what libfuse 3.14 speaks

/// Kernel 6.2 and later: create a file without a name. Same body and answer as FUSE_CREATE.
#define LANFS_FUSE_TMPFILE 51u
/// Kernel 6.6 and later: statx(2), asked when somebody wants the time of birth. Begins like FUSE_GETATTR.
#define LANFS_FUSE_STATX 52u

struct lanfs_fuse_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

/// The kernel's struct fuse_statx_out with its struct fuse_statx inside.
struct lanfs_fuse_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	uint32_t mask;
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0[1];
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct lanfs_fuse_sx_time atime;
	struct lanfs_fuse_sx_time btime;
	struct lanfs_fuse_sx_time ctime;
	struct lanfs_fuse_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t spare2[14];
};
_Static_assert(sizeof(struct lanfs_fuse_statx_out) == 32 + 256, "laid out as the kernel has it");

/// STATX_BASIC_STATS | STATX_BTIME
#define LANFS_STATX_MASK 0xfffu

// MARK: libc

#ifndef O_DIRECT
/// The kernel's O_DIRECT: glibc shows it only with _GNU_SOURCE.
#if defined(__aarch64__) || defined(__arm__)
#define O_DIRECT 0200000
#else
#define O_DIRECT 040000
#endif
#endif
static inline unsigned int lanfs_rename_noreplace(void) { return 1u; }
static inline unsigned int lanfs_rename_exchange(void) { return 2u; }
static inline int lanfs_o_direct(void) { return O_DIRECT; }

/// unistd.h declares it only for those who define _GNU_SOURCE.
extern long syscall(long number, ...);

/// Swift marks fork unavailable, rightly: this is for a process that has started no thread yet.
static inline pid_t lanfs_fork(void) { return fork(); }

static inline int lanfs_mount(const char *source, const char *target, const char *type, unsigned long flags,
			      const char *data)
{
	return mount(source, target, type, flags, data);
}

/// The number of the mount at path, which no other mount ever gets (Linux 6.8 and later); 0 when it is not told. Asks
/// the kernel only, not whoever serves the mount.
static inline uint64_t lanfs_unique_mount_id(const char *path)
{
	const unsigned int unique = 0x4000u, mask_offset = 0, mount_id_offset = 144;
	const int dont_sync = 0x4000, no_automount = 0x800;
	char status[256] __attribute__((aligned(8)));
	uint32_t mask;
	uint64_t id;

	if (syscall(SYS_statx, AT_FDCWD, path, dont_sync | no_automount, unique, status) != 0)
		return 0;
	memcpy(&mask, status + mask_offset, sizeof(mask));
	memcpy(&id, status + mount_id_offset, sizeof(id));
	return mask & unique ? id : 0;
}

/// Names the calling thread: at most 15 bytes.
static inline void lanfs_name_thread(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

/// syslog(3) with a fixed format: text is never a format.
static inline void lanfs_syslog(int priority, const char *text) { syslog(priority, "%s", text); }

/// A message of one byte with one descriptor (or none: -1 with errno EPIPE at the end of the stream).
static inline int lanfs_receive_descriptor(int channel)
{
	char byte;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message;
	memset(&message, 0, sizeof(message));
	memset(&control, 0, sizeof(control));
	message.msg_iov = &vector;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof(control);

	ssize_t received;
	do {
		received = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
	} while (received == -1 && errno == EINTR);
	if (received == -1)
		return -1;
	struct cmsghdr *item = received == 1 ? CMSG_FIRSTHDR(&message) : NULL;
	if (item == NULL || item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS ||
	    item->cmsg_len != CMSG_LEN(sizeof(int))) {
		errno = EPIPE;
		return -1;
	}
	int descriptor;
	memcpy(&descriptor, CMSG_DATA(item), sizeof(descriptor));
	return descriptor;
}

/// The signal that takes a thread out of a blocking read. Real-time signals are macros that call a function.
static inline int lanfs_wake_signal(void) { return SIGRTMIN + 7; }

static inline void lanfs_ignore_wake(int number) { (void)number; }

/// Without SA_RESTART, so that the read returns EINTR.
static inline int lanfs_install_wake_signal(void)
{
	struct sigaction action;
	memset(&action, 0, sizeof(action));
	sigemptyset(&action.sa_mask);
	action.sa_handler = lanfs_ignore_wake;
	return sigaction(lanfs_wake_signal(), &action, NULL);
}

#endif
