import Glibc

/// A descriptor whose calls fail in words.
struct File: Sendable {
    let path: String
    let descriptor: Int32

    init(_ path: String, _ flags: Int32) throws(Failure) {
        self.path = path
        descriptor = open(path, flags | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure("open", path) }
    }

    /// Closing tells of errors of earlier writes.
    func close() throws(Failure) {
        guard Glibc.close(descriptor) == 0 else { throw Failure("close", path) }
    }

    func write(_ buffer: UnsafeRawBufferPointer, at offset: Int) throws(Failure) {
        guard pwrite(descriptor, buffer.baseAddress, buffer.count, off_t(offset)) == buffer.count else {
            throw Failure("write", path)
        }
    }

    /// Fewer bytes than asked for only at the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Failure) -> Int {
        let count = pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
        guard count >= 0 else { throw Failure("read", path) }
        return count
    }

    func sync() throws(Failure) {
        guard fsync(descriptor) == 0 else { throw Failure("fsync", path) }
    }
}

/// Room for pages.
func withBuffer<Value>(_ size: Int, _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Value) throws(Failure) -> Value {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: Pattern.pageSize)
    defer { buffer.deallocate() }
    return try body(buffer)
}
