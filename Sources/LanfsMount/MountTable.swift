import Glibc

/// A line of mountinfo, as far as it matters here.
struct MountTableEntry: Equatable, Sendable {
    /// `major:minor`, the name of the mount's folder in /sys/class/bdi.
    var device: String
    var path: [UInt8]
    var type: String
    var source: String

    var isLanfs: Bool { type == "fuse.lanfs" }
}

enum MountTable {
    /// The mount that is on top at `path`: of several the last.
    static func top(at path: String) -> MountTableEntry? {
        let wanted = [UInt8](path.utf8)
        return entries(in: readFile("/proc/thread-self/mountinfo") ?? []).last { $0.path == wanted }
    }

    /// 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    static func entries(in text: [UInt8]) -> [MountTableEntry] {
        text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "))
            guard fields.count > 6, let dash = fields.dropFirst(6).firstIndex(of: [UInt8(ascii: "-")]),
                fields.count > dash + 2
            else { return nil }
            return MountTableEntry(
                device: String(decoding: fields[2], as: UTF8.self), path: unescape(fields[4]),
                type: String(decoding: fields[dash + 1], as: UTF8.self),
                source: String(decoding: unescape(fields[dash + 2]), as: UTF8.self))
        }
    }

    /// The kernel writes space, tab, newline and backslash as three octal digits.
    private static func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == UInt8(ascii: "\\"), digits.count == 3, let value = UInt8(octal: digits) {
                bytes.append(value)
                rest.removeFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return bytes
    }
}

extension UInt8 {
    fileprivate init?(octal digits: ArraySlice<UInt8>) {
        var value = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit) else { return nil }
            value = value * 8 + Int(digit - UInt8(ascii: "0"))
        }
        self.init(exactly: value)
    }
}

/// The whole of a small file of /proc or /sys; nil when it cannot be read.
func readFile(_ path: String) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var contents: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16 * 1024)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { return nil }
        if count == 0 { return contents }
        contents += buffer[..<count]
    }
}
