import Glibc
import LanfsFileSystem
import LanfsLocal

/// What the names of losers get (L6): who lost, and when, as the clocks on the wall there show it.
enum ConflictMark {
    static func make(_ time: Timestamp) -> [UInt8] {
        var seconds = time_t(time.seconds)
        var parts = tm()
        localtime_r(&seconds, &parts)
        let date = [parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday].map(twoDigits).joined(separator: "-")
        // No colon: other systems do not take it in a name.
        let clock = [parts.tm_hour, parts.tm_min, parts.tm_sec].map(twoDigits).joined(separator: ".")
        // The kernel takes anything for a host's name.
        let host = hostName().map { $0 == "/" ? "-" : $0 }
        return Array("(conflict \(String(host)) \(date) \(clock))".utf8)
    }

    private static func twoDigits(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
