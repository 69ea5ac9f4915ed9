import CFuse
import Glibc

/// What the kernel and we agreed on at the start (FUSE_INIT).
struct Agreement: Sendable {
    /// Bytes of a request's data at most.
    var maxWrite: Int
    var parallelDirectories: Bool
}

/// Bytes of a write request, and with it of a read: 256 pages, the most libfuse 3.14 and the kernel's default allow.
let maxTransfer = 1 << 20

/// Requests come with headers before the data.
let requestBufferSize = maxTransfer + 4096

extension Bridge {
    /// libfuse's `init` callback: chooses among what the kernel offers.
    func agree(_ connection: inout fuse_conn_info) {
        let offered = connection.capable
        func want(_ capability: Int32, _ on: Bool) {
            let bit = UInt32(bitPattern: capability)
            if on, offered & bit != 0 { connection.want |= bit } else { connection.want &= ~bit }
        }
        want(FUSE_CAP_ASYNC_READ, true)
        want(FUSE_CAP_ASYNC_DIO, true)
        want(FUSE_CAP_ATOMIC_O_TRUNC, true)
        // Changes made elsewhere show: pages go when a file's times or size moved.
        want(FUSE_CAP_AUTO_INVAL_DATA, true)
        want(FUSE_CAP_EXPLICIT_INVAL_DATA, false)
        want(FUSE_CAP_READDIRPLUS, true)
        want(FUSE_CAP_READDIRPLUS_AUTO, false)
        want(FUSE_CAP_POSIX_LOCKS, true)
        want(FUSE_CAP_FLOCK_LOCKS, true)
        // An inode's target never changes.
        want(FUSE_CAP_CACHE_SYMLINKS, true)
        // Growth made elsewhere would stay invisible.
        want(FUSE_CAP_WRITEBACK_CACHE, false)
        // Its successor is asked for instead, in `completeAgreement`.
        want(FUSE_CAP_HANDLE_KILLPRIV, false)
        // The kernel applies the umask, and checks permissions: ACLs would need both here.
        want(FUSE_CAP_DONT_MASK, false)
        want(FUSE_CAP_POSIX_ACL, false)
        // NFS servers look up "." of inodes the kernel has forgotten: the volume has no such question.
        want(FUSE_CAP_EXPORT_SUPPORT, false)
        connection.max_write = UInt32(maxTransfer)
        // The kernel's offer is its own setting (128 KiB); more is set from outside (KernelMount.setReadAhead).
        connection.max_readahead = UInt32.max
        connection.max_background = 128
        connection.congestion_threshold = 96
        connection.time_gran = 1
        agreement.change {
            $0 = Agreement(
                maxWrite: maxTransfer,
                parallelDirectories: offered & UInt32(FUSE_CAP_PARALLEL_DIROPS) != 0)
        }
    }

    /// Adds to the answer to FUSE_INIT, the first of a connection, on its way out, what libfuse 3.14 has no words for.
    ///
    /// Parallel lookups and listings in one directory: it forgets to say yes. Clearing set-user-id and set-group-id bits
    /// (HANDLE_KILLPRIV_V2): the volume does so itself, and the kernel then need not ask for the file's capabilities
    /// before each write; while there are any it still removes them.
    func completeAgreement(_ vectors: UnsafeMutableBufferPointer<iovec>) {
        guard isFirstAnswer.exchange(false, ordering: .acquiringAndReleasing),
            let agreement = agreement.withLock({ $0 }), vectors.count == 2,
            vectors[1].iov_len >= MemoryLayout<fuse_init_out>.size, let base = vectors[1].iov_base
        else { return }
        let answer = base.assumingMemoryBound(to: fuse_init_out.self)
        if agreement.parallelDirectories { answer.pointee.flags |= UInt32(FUSE_PARALLEL_DIROPS) }
        // A kernel that does not know it ignores it.
        answer.pointee.flags |= UInt32(FUSE_HANDLE_KILLPRIV_V2)
    }
}
