import CFuse
import Glibc

/// libfuse's session on a connection that is already mounted: it takes requests apart and puts answers together.
final class FuseSession: @unchecked Sendable {
    // Sendable: libfuse's session is made for many threads, but for its end; MountSession destroys it after all are
    // gone.
    let raw: OpaquePointer
    let connection: Int32
    private let userdata: Unmanaged<Bridge>

    /// `connection` belongs to the session from now on.
    init(_ bridge: Bridge, options: MountOptions, connection: Int32) throws(MountError) {
        userdata = Unmanaged.passRetained(bridge)
        var arguments = fuse_args(argc: 0, argv: nil, allocated: 0)
        fuse_opt_add_arg(&arguments, "lanfs")
        for option in options.libraryOptions { fuse_opt_add_arg(&arguments, "-o\(option)") }
        defer { fuse_opt_free_args(&arguments) }

        var table = OperationTable.make()
        guard
            let raw = fuse_session_new(
                &arguments, &table, MemoryLayout<fuse_lowlevel_ops>.size, userdata.toOpaque())
        else {
            userdata.release()
            close(connection)
            throw .libraryRefused("make a session")
        }
        var transport = fuse_custom_io()
        transport.read = { descriptor, buffer, count, _ in read(descriptor, buffer, count) }
        transport.writev = { descriptor, vectors, count, userdata in
            if let userdata, let vectors {
                let bridge = Unmanaged<Bridge>.fromOpaque(userdata).takeUnretainedValue()
                if bridge.isFirstAnswer.load(ordering: .relaxed) {
                    bridge.completeAgreement(UnsafeMutableBufferPointer(start: vectors, count: Int(count)))
                }
            }
            return writev(descriptor, vectors, count)
        }
        guard fuse_session_custom_io(raw, &transport, connection) == 0 else {
            fuse_session_destroy(raw)
            userdata.release()
            close(connection)
            throw .libraryRefused("take over the connection")
        }
        self.raw = raw
        self.connection = connection
    }

    @inline(__always)
    func process(_ request: UnsafeMutableRawBufferPointer) {
        var buffer = fuse_buf()
        buffer.size = request.count
        buffer.mem = request.baseAddress
        buffer.fd = -1
        fuse_session_process_buf(raw, &buffer)
    }

    /// Keeps libfuse from complaining on stderr about answers that nobody takes any more.
    func expectEnd() { fuse_session_exit(raw) }

    /// Closes the connection: whatever still waits in the kernel fails. Nothing may use the session any more.
    func destroy() {
        fuse_session_destroy(raw)
        userdata.release()
    }
}
