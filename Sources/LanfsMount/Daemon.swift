import CFuse
import Glibc
import SystemPackage

/// Going to the background only once the work is known to work, as sshfs does.
///
/// Threads do not survive fork(2), so the split happens first, before Swift's tasks or anything else starts one: the
/// child does everything, with the terminal still its own (it may ask for a password), and the parent waits for its
/// word.
public enum Daemon {
    /// Where standard output and error go in the background.
    public enum Log: Equatable, Sendable {
        case none
        /// Appended to.
        case file(String)
        /// Line by line, with the daemon's name.
        case system(name: String)
    }

    /// Call before anything starts a thread. In the foreground returns at once. Else returns in the child only; the
    /// parent waits, prints the child's words if it fails, and exits with its status.
    public static func start(foreground: Bool, log: Log = .none) -> Readiness {
        guard !foreground else { return Readiness(channel: nil, log: log) }
        guard let (parent, channel) = try? makeStream() else {
            stop("cannot go to the background: \(Errno(rawValue: errno))")
        }
        let child = lanfs_fork()
        guard child >= 0 else { stop("cannot go to the background: \(Errno(rawValue: errno))") }
        if child == 0 {
            close(parent)
            return Readiness(channel: channel, log: log)
        }
        close(channel)
        awaitWord(of: child, on: parent)
    }

    private static func awaitWord(of child: pid_t, on channel: Int32) -> Never {
        var word: UInt8 = 0
        while true {
            let count = read(channel, &word, 1)
            if count == 1 { exit(Int32(word)) }
            if count < 0, errno == EINTR { continue }
            break
        }
        // No word: it ended by itself, having said why on the terminal, or it died.
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7f
        if signal != 0 { stop("the background process was ended by signal \(signal) before it was ready") }
        exit((status >> 8) & 0xff)
    }

    private static func stop(_ message: String) -> Never {
        printError(message)
        exit(1)
    }

    fileprivate static func printError(_ message: String) {
        let line = Array("lanfs: \(message)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
    }
}

/// The child's end of the line to the parent.
public final class Readiness: Sendable {
    private let channel: ConditionLock<Int32?>
    private let log: Daemon.Log

    fileprivate init(channel: Int32?, log: Daemon.Log) {
        self.channel = ConditionLock(channel)
        self.log = log
    }

    /// All is well: leaves the terminal and the parent exits with 0. Without effect in the foreground or a second time.
    public func ready() throws(MountError) {
        guard let channel = channel.withLock({ channel in exchange(&channel) }) else { return }
        defer { close(channel) }
        setsid()
        _ = chdir("/")
        try redirect()
        tell(channel, 0)
    }

    /// It did not work: the message goes to the terminal, and both processes exit with `status` (1 to 255).
    public func fail(_ message: String, status: UInt8 = 1) -> Never {
        Daemon.printError(message)
        if let channel = channel.withLock({ channel in exchange(&channel) }) { tell(channel, status) }
        exit(Int32(status))
    }

    private func exchange(_ channel: inout Int32?) -> Int32? {
        defer { channel = nil }
        return channel
    }

    private func tell(_ channel: Int32, _ status: UInt8) {
        var word = status
        while write(channel, &word, 1) < 0, errno == EINTR {}
    }

    private func redirect() throws(MountError) {
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { throw .mountPointUnusable("/dev/null", Errno(rawValue: errno)) }
        defer { close(null) }
        let output: Int32
        switch log {
        case .none:
            output = dup(null)
        case .file(let path):
            output = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
            guard output >= 0 else { throw .mountPointUnusable(path, Errno(rawValue: errno)) }
        case .system(let name):
            output = try SystemLog.start(name: name)
        }
        dup2(null, STDIN_FILENO)
        dup2(output, STDOUT_FILENO)
        dup2(output, STDERR_FILENO)
        close(output)
    }
}

/// Passes lines written to a descriptor on to syslog(3).
private enum SystemLog {
    static func start(name: String) throws(MountError) -> Int32 {
        let (source, writing) = try makeStream()
        // Kept by syslog for ever.
        openlog(strdup(name), LOG_PID, LOG_DAEMON)
        try PlainThread(name: "lanfs-log") {
            var line: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while true {
                let count = read(source, &buffer, buffer.count)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                for byte in buffer[..<count] {
                    // A line without end is cut where syslog would.
                    if byte == UInt8(ascii: "\n") || line.count >= 8192 {
                        lanfs_syslog(LOG_INFO, String(decoding: line, as: UTF8.self))
                        line.removeAll(keepingCapacity: true)
                    }
                    if byte != UInt8(ascii: "\n") { line.append(byte) }
                }
            }
        }.detach()
        return writing
    }
}
