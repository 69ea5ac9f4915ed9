import CFuse
import Glibc
import Synchronization
import SystemPackage

/// The threads that read the kernel's requests and have them served: one system call a request when it comes, one when
/// it is answered.
///
/// A thread waits in read(2) itself, not in poll(2): the kernel wakes one reader a request, but every poller (measured
/// on two cores with four threads, random reads of 4 KiB by eight: 200,000 to 250,000/s against 140,000 to 185,000). What
/// ends the wait is the end of the connection, or a signal that only these threads take.
final class RequestLoop: Sendable {
    enum End: Equatable, Sendable {
        /// The kernel closed the connection: unmounted.
        case disconnected
        case stopped
        case failed(Errno)
    }

    private let session: FuseSession
    private let connection: Int32
    private let stopping = Atomic<Bool>(false)
    private let refusing = Atomic<Bool>(false)
    private let onEnd: @Sendable (End) -> Void
    private let threads = ConditionLock<[PlainThread]>([])

    /// `onEnd` is called by each thread that ends.
    init(_ session: FuseSession, connection: Int32, onEnd: @escaping @Sendable (End) -> Void) {
        self.session = session
        self.connection = connection
        self.onEnd = onEnd
    }

    func start(threads count: Int) throws(MountError) {
        guard lanfs_install_wake_signal() == 0 else { throw .threadsUnavailable(Errno(rawValue: errno)) }
        for _ in 0..<max(1, count) {
            let thread = try PlainThread(name: "lanfs-fuse") { [self] in onEnd(readRequests()) }
            threads.withLock { $0.append(thread) }
        }
    }

    /// From now on requests are refused at once; what gives back is still served.
    func refuse() { refusing.store(true, ordering: .releasing) }

    /// Ends all threads and waits for them.
    func stop() {
        stopping.store(true, ordering: .releasing)
        for thread in threads.withLock({ $0 }) {
            // A signal just before the read is lost: repeat it.
            repeat { thread.wake() } while !thread.hasFinished(within: .milliseconds(5))
            thread.join()
        }
        threads.withLock { $0 = [] }
    }

    private func readRequests() -> End {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: requestBufferSize, alignment: 4096)
        defer { buffer.deallocate() }
        while !stopping.load(ordering: .acquiring) {
            let count = read(connection, buffer.baseAddress, buffer.count)
            guard count >= 0 else {
                switch errno {
                // ENOENT: the request was withdrawn before it was read.
                case EINTR, EAGAIN, ENOENT: continue
                case ENODEV, ECONNABORTED, ENOTCONN: return .disconnected
                case let error: return .failed(Errno(rawValue: error))
                }
            }
            guard count >= MemoryLayout<fuse_in_header>.size else { return .failed(.ioError) }
            serve(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]))
        }
        return .stopped
    }

    @inline(__always)
    private func serve(_ request: UnsafeMutableRawBufferPointer) {
        if refusing.load(ordering: .relaxed), refuse(request) { return }
        translate(request)
        session.process(request)
    }

    /// What libfuse 3.14 does not know is turned into what it knows.
    @inline(__always)
    private func translate(_ request: UnsafeMutableRawBufferPointer) {
        let header = request.baseAddress?.assumingMemoryBound(to: fuse_in_header.self)
        guard let header else { return }
        let bodyOffset = MemoryLayout<fuse_in_header>.size
        switch header.pointee.opcode {
        case FUSE_GETATTR.rawValue where request.count >= bodyOffset + MemoryLayout<fuse_getattr_in>.size:
            setHandleFlag(request, at: bodyOffset, false)
        case LANFS_FUSE_STATX where request.count >= bodyOffset + MemoryLayout<fuse_getattr_in>.size:
            // Begins like GETATTR. The flag for a file handle, which nothing else here uses, tells them apart.
            header.pointee.opcode = FUSE_GETATTR.rawValue
            setHandleFlag(request, at: bodyOffset, true)
        case LANFS_FUSE_TMPFILE where request.count > bodyOffset + MemoryLayout<fuse_create_in>.size:
            // A CREATE with an empty name: no real one has that.
            header.pointee.opcode = FUSE_CREATE.rawValue
            request[bodyOffset + MemoryLayout<fuse_create_in>.size] = 0
        default:
            break
        }
    }

    private func setHandleFlag(_ request: UnsafeMutableRawBufferPointer, at offset: Int, _ on: Bool) {
        var flags = request.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        if on { flags |= UInt32(FUSE_GETATTR_FH) } else { flags &= ~UInt32(FUSE_GETATTR_FH) }
        request.storeBytes(of: flags, toByteOffset: offset, as: UInt32.self)
    }

    /// Whether the request was refused, as of a file system that is gone.
    private func refuse(_ request: UnsafeMutableRawBufferPointer) -> Bool {
        let header = request.loadUnaligned(as: fuse_in_header.self)
        switch header.opcode {
        case FUSE_FORGET.rawValue, FUSE_BATCH_FORGET.rawValue, FUSE_RELEASE.rawValue, FUSE_RELEASEDIR.rawValue:
            return false
        // Nothing waits any more that could be interrupted, and an interrupt has no answer.
        case FUSE_INTERRUPT.rawValue:
            return true
        default:
            var answer = fuse_out_header(
                len: UInt32(MemoryLayout<fuse_out_header>.size), error: -ENOTCONN, unique: header.unique)
            _ = write(connection, &answer, MemoryLayout<fuse_out_header>.size)
            return true
        }
    }
}
