import Glibc
import SystemPackage

/// A file of this machine, open; closed when the last reference goes.
final class LocalFile: Sendable {
    let descriptor: Int32
    let path: String

    init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit { if descriptor > 2 { close(descriptor) } }

    static func open(
        _ path: String, _ flags: Int32, _ mode: mode_t = 0, action: String
    ) throws(TransferError) -> LocalFile {
        let descriptor = Glibc.open(path, flags | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw .local(action: action, path: path, Errno(rawValue: errno)) }
        return LocalFile(descriptor: descriptor, path: path)
    }

    static func status(of path: String) throws(TransferError) -> stat? {
        var status = stat()
        if lstat(path, &status) == 0 { return status }
        if errno == ENOENT { return nil }
        throw .local(action: "examine", path: path, Errno(rawValue: errno))
    }

    func status() throws(TransferError) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw .local(action: "examine", path: path, Errno(rawValue: errno))
        }
        return status
    }

    /// Fills `buffer` as far as the file goes; returns how far that is.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws(TransferError) -> Int {
        var filled = 0
        while filled < buffer.count, let start = buffer.baseAddress {
            let count = Glibc.read(descriptor, start + filled, buffer.count - filled)
            if count == 0 { break }
            if count > 0 { filled += count; continue }
            if errno != EINTR { throw .local(action: "read", path: path, Errno(rawValue: errno)) }
        }
        return filled
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws(TransferError) {
        var written = 0
        while written < bytes.count, let start = bytes.baseAddress {
            let count = Glibc.write(descriptor, start + written, bytes.count - written)
            if count >= 0 { written += count; continue }
            if errno != EINTR { throw .local(action: "write", path: path, Errno(rawValue: errno)) }
        }
    }

    static func entries(of path: String) throws(TransferError) -> [String] {
        guard let directory = opendir(path) else { throw .local(action: "read", path: path, Errno(rawValue: errno)) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
