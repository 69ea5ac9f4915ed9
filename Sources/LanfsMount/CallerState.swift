import Glibc

/// What became of the thread that waits for an answer, as /proc tells it.
enum CallerState: Equatable, Sendable {
    /// Goes on once answered.
    case alive
    /// A fatal signal waits for it, or it is gone: nobody will see the answer.
    case killed
    /// Ended by itself and closes its files.
    case exiting
    /// In another process namespace.
    case unknown

    static func of(_ thread: pid_t) -> CallerState {
        guard thread > 0 else { return .unknown }
        guard let status = readFile("/proc/\(thread)/status"), let stat = readFile("/proc/\(thread)/stat") else {
            return .killed
        }
        return state(status: status, stat: stat)
    }

    static func state(status: [UInt8], stat: [UInt8]) -> CallerState {
        // A signal that ends a process leaves SIGKILL pending in each of its threads until they leave the kernel.
        for line in status.split(separator: UInt8(ascii: "\n")) {
            let text = String(decoding: line, as: UTF8.self)
            guard text.hasPrefix("SigPnd:"),
                let pending = UInt64(text.dropFirst("SigPnd:".count).drop { $0 == "\t" || $0 == " " }, radix: 16)
            else { continue }
            if pending & (1 << UInt64(SIGKILL - 1)) != 0 { return .killed }
        }
        // Field 9 are the kernel's task flags, field 52 the exit code; the name in field 2 may hold blanks and brackets.
        guard let bracket = stat.lastIndex(of: UInt8(ascii: ")")) else { return .unknown }
        let fields = stat[(bracket + 1)...].split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
        let flagsField = 9 - 3
        let exitCodeField = 52 - 3
        guard fields.count > flagsField, let flags = UInt64(String(decoding: fields[flagsField], as: UTF8.self)) else {
            return .unknown
        }
        let exitingFlag: UInt64 = 0x4
        guard flags & exitingFlag != 0 else { return .alive }
        let code = fields.count > exitCodeField ? Int(String(decoding: fields[exitCodeField], as: UTF8.self)) ?? 0 : 0
        return code & 0x7f == 0 ? .exiting : .killed
    }
}
