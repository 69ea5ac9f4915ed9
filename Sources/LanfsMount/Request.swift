import CFuse
import Glibc
import LanfsClient
import LanfsFileSystem
import SystemPackage

/// One request of the kernel, to be answered exactly once.
struct Request: @unchecked Sendable {
    // Sendable: libfuse lets any thread answer a request; PendingRequests sees to it that only one does.
    let raw: fuse_req_t

    init(_ raw: fuse_req_t) { self.raw = raw }

    /// Who asks, and when.
    var caller: Caller {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let now = Timestamp(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
        guard let context = fuse_req_ctx(raw) else { return Caller(user: 0, group: 0, umask: 0, now: now) }
        return Caller(
            user: context.pointee.uid, group: context.pointee.gid, umask: UInt16(context.pointee.umask & 0o7777),
            now: now, thread: context.pointee.pid)
    }

    /// The thread that waits, zero when it is not visible from here.
    var thread: pid_t { fuse_req_ctx(raw)?.pointee.pid ?? 0 }

    /// 0 when the kernel took the answer, else a negative errno: nobody waits for it any more.
    @discardableResult
    func fail(_ error: Errno) -> Int32 {
        // libfuse accepts 1 to 999.
        fuse_reply_err(raw, (1..<1000).contains(error.rawValue) ? error.rawValue : EIO)
    }

    @discardableResult
    func succeed() -> Int32 { fuse_reply_err(raw, 0) }

    func answerNothing() { fuse_reply_none(raw) }
}

/// How the answer to one kind of request is sent, and what to take back when nobody was there to get it.
struct Answer<Value: Sendable>: Sendable {
    let send: @Sendable (Bridge, Request, Value) -> Int32
    let undo: @Sendable (Bridge, Value) -> Void
    let fail: @Sendable (Bridge, Request, Errno) -> Void

    init(
        send: @escaping @Sendable (Bridge, Request, Value) -> Int32,
        undo: @escaping @Sendable (Bridge, Value) -> Void = { _, _ in },
        fail: @escaping @Sendable (Bridge, Request, Errno) -> Void = { _, request, error in request.fail(error) }
    ) {
        self.send = send
        self.undo = undo
        self.fail = fail
    }
}

extension Answer<Void> {
    static let done = Answer(send: { _, request, _ in request.succeed() })
}

extension Answer<Attributes> {
    /// An inode the kernel now knows: counted as a lookup.
    static let entry = Answer(
        send: { bridge, request, attributes in
            var parameters = bridge.entry(attributes)
            return fuse_reply_entry(request.raw, &parameters)
        },
        undo: { bridge, attributes in bridge.operations.forget(attributes.inode, lookups: 1) })

    /// As `entry`; a missing name is remembered as an entry without an inode, if the policy allows it.
    static let lookedUp = Answer(
        send: entry.send, undo: entry.undo,
        fail: { bridge, request, error in
            let seconds = bridge.policy.missingEntries.inSeconds
            guard error == .noSuchFileOrDirectory, seconds > 0 else {
                request.fail(error)
                return
            }
            var missing = fuse_entry_param()
            missing.entry_timeout = seconds
            _ = fuse_reply_entry(request.raw, &missing)
        })

    static let attributes = Answer(send: { bridge, request, attributes in
        var status = stat(attributes)
        return fuse_reply_attr(request.raw, &status, bridge.validity(attributes))
    })

    /// The kernel takes them as they are: only when it asks for attributes does it drop the pages where the time is another one.
    /// Where another client's change is in these as well it gets a time that is not theirs, and has to ask at once.
    static let changedAttributes = Answer(send: { bridge, request, attributes in
        guard attributes.type == .regular, bridge.operations.hasOldPages(attributes.inode) else { return Answer.attributes.send(bridge, request, attributes) }
        var attributes = attributes
        attributes.modified.seconds &-= 1
        var status = stat(attributes)
        return fuse_reply_attr(request.raw, &status, 0)
    })

    static let extendedAttributes = Answer(send: { bridge, request, attributes in
        var reply = lanfs_fuse_statx_out(attributes, validSeconds: bridge.validity(attributes))
        return withUnsafeBytes(of: &reply) { bytes in
            fuse_reply_buf(request.raw, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
    })
}

extension Answer<OpenFile> {
    static let opened = Answer(
        send: { _, request, file in
            var info = fuse_file_info(file)
            return fuse_reply_open(request.raw, &info)
        },
        undo: { bridge, file in bridge.operations.release(file.handle) })
}

extension Answer<(Attributes, OpenFile)> {
    static let created = Answer(
        send: { bridge, request, created in
            var parameters = bridge.entry(created.0)
            var info = fuse_file_info(created.1)
            return fuse_reply_create(request.raw, &parameters, &info)
        },
        undo: { bridge, created in
            bridge.operations.release(created.1.handle)
            bridge.operations.forget(created.0.inode, lookups: 1)
        })
}

extension Answer<Int> {
    static let written = Answer(send: { _, request, count in fuse_reply_write(request.raw, max(0, count)) })
}

extension Answer<UInt64> {
    static let position = Answer(send: { _, request, offset in
        guard let offset = off_t(exactly: offset) else { return request.fail(.overflow) }
        return fuse_reply_lseek(request.raw, offset)
    })

    static let openedDirectory = Answer(
        send: { bridge, request, handle in
            var info = CFuse.fuse_file_info()
            info.fh = handle
            let keeps = bridge.policy.listings ? Int32(1) : 0
            lanfs_fuse_set_cache_readdir(&info, keeps)
            lanfs_fuse_set_keep_cache(&info, keeps)
            return fuse_reply_open(request.raw, &info)
        },
        undo: { bridge, handle in bridge.operations.releaseDirectory(handle) })
}

extension Answer<FileBytes> {
    /// Gathers the pieces where they lie.
    static let bytes = Answer(send: { _, request, bytes in bytes.reply(to: request) })
}

extension Answer<[UInt8]> {
    /// readlink(2): as long as it is.
    static let target = Answer(send: { _, request, target in
        target.withUnsafeBytes {
            fuse_reply_buf(request.raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
        }
    })

    /// getxattr(2): `room` zero asks for the size only.
    static func value(room: Int) -> Answer {
        Answer(send: { _, request, value in
            if room == 0 { return fuse_reply_xattr(request.raw, value.count) }
            if value.count > room { return request.fail(.outOfRange) }
            return value.withUnsafeBytes {
                fuse_reply_buf(request.raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
            }
        })
    }
}

extension Answer<[[UInt8]]> {
    /// listxattr(2): names one after the other, each with a NUL.
    static func names(room: Int) -> Answer {
        Answer(send: { bridge, request, names in
            var list: [UInt8] = []
            for name in names {
                list += name
                list.append(0)
            }
            return Answer<[UInt8]>.value(room: room).send(bridge, request, list)
        })
    }
}

extension Answer<VolumeUsage> {
    static let usage = Answer(send: { _, request, usage in
        var status = statvfs(usage)
        return fuse_reply_statfs(request.raw, &status)
    })
}

extension Answer<LockRange?> {
    static let lock = Answer(send: { _, request, range in
        var lock = flock(range)
        return fuse_reply_lock(request.raw, &lock)
    })
}

extension FileBytes {
    /// More pieces than this are rare and are copied together.
    private static let gathered = 64

    fileprivate func reply(to request: Request) -> Int32 {
        if pieces.count == 1 {
            return pieces[0].withUnsafeBytes {
                fuse_reply_buf(request.raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
            }
        }
        if pieces.count > Self.gathered {
            return FileBytes(pieces: [joined[...]]).reply(to: request)
        }
        return withUnsafeTemporaryAllocation(of: iovec.self, capacity: Self.gathered) { vectors in
            gather(from: 0, into: vectors, request)
        }
    }

    /// Each piece's storage is held in place by a frame of this recursion until the kernel has copied it.
    private func gather(
        from index: Int, into vectors: UnsafeMutableBufferPointer<iovec>, _ request: Request
    ) -> Int32 {
        guard index < pieces.count else {
            return fuse_reply_iov(request.raw, vectors.baseAddress, Int32(pieces.count))
        }
        return pieces[index].withUnsafeBytes { bytes in
            vectors[index] = iovec(
                iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
            return gather(from: index + 1, into: vectors, request)
        }
    }
}
