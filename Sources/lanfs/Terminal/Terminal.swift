import Glibc

/// What is known about a descriptor that may be a terminal.
enum Terminal {
    static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

    /// The width in columns; nil when the descriptor is not a terminal or does not know.
    static func columns(_ descriptor: Int32) -> Int? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }
}

/// Diagnostics. They are written at once and whole; that nobody reads them is no error.
enum StandardError {
    static func write(_ text: String) {
        _ = writeAll(Array(text.utf8), to: STDERR_FILENO)
    }
}

/// The result of a command: buffered, and a reader that went away or a full disk is an error.
struct StandardOutput: ~Copyable {
    private var buffer: [UInt8] = []
    private let descriptor: Int32
    private static let chunk = 64 << 10

    init(descriptor: Int32 = STDOUT_FILENO) { self.descriptor = descriptor }

    mutating func write(_ bytes: some Sequence<UInt8>) throws(CommandError) {
        buffer.append(contentsOf: bytes)
        if buffer.count >= Self.chunk { try flush() }
    }

    mutating func write(_ text: String) throws(CommandError) { try write(text.utf8) }

    /// Must be called before the command ends.
    mutating func flush() throws(CommandError) {
        let failure = writeAll(buffer, to: descriptor)
        buffer.removeAll(keepingCapacity: true)
        switch failure {
        case nil: return
        case EPIPE: throw .readerGone
        case ENOSPC: throw CommandError(.noSpace, "standard output: no space left on device")
        case let code?: throw CommandError(.failure, "standard output: \(String(cString: strerror(code)))")
        }
    }

    /// Writes a short text at once.
    static func print(_ text: String) throws(CommandError) {
        var output = StandardOutput()
        try output.write(text)
        try output.flush()
    }
}

/// Writes every byte; gives back the errno that kept it from doing so.
func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
    var written = 0
    while written < bytes.count {
        let count = bytes[written...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count >= 0 {
            written += count
        } else if errno == EAGAIN {
            // Somebody we share the terminal with made it non-blocking.
            var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            _ = poll(&wait, 1, -1)
        } else if errno != EINTR {
            return errno
        }
    }
    return nil
}
