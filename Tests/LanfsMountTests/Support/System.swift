import Glibc
import SystemPackage
import Testing

@testable import LanfsMount

// System calls as throwing functions, on threads that may block: Swift's own pool has as many threads as there are
// cores, and the file system under test needs them for its answers.

/// Runs `body` on a thread of its own.
@discardableResult
func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    let result: Result<Value, any Error> = try await withCheckedThrowingContinuation { continuation in
        do {
            try PlainThread(name: "test") { continuation.resume(returning: Result { try body() }) }.detach()
        } catch {
            continuation.resume(throwing: error)
        }
    }
    return try result.get()
}

/// Polls until `condition` holds; false after `limit`.
func eventually(_ limit: Duration = .seconds(5), _ condition: () -> Bool) async throws -> Bool {
    let deadline = MonotonicTime.now.adding(limit)
    while !condition() {
        if MonotonicTime.now > deadline { return false }
        try await Task.sleep(for: .milliseconds(5))
    }
    return true
}

@discardableResult
func check(_ status: Int32) throws(Errno) -> Int32 {
    guard status >= 0 else { throw Errno(rawValue: errno) }
    return status
}

@discardableResult
func check(_ count: Int) throws(Errno) -> Int {
    guard count >= 0 else { throw Errno(rawValue: errno) }
    return count
}

func failure(_ body: () throws -> Void) -> Errno? {
    do {
        try body()
        return nil
    } catch {
        return error as? Errno
    }
}

@discardableResult
func withFile<Value>(
    _ path: String, _ flags: Int32, _ mode: mode_t = 0o644, _ body: (Int32) throws -> Value
) throws -> Value {
    let file = try check(open(path, flags, mode))
    defer { close(file) }
    return try body(file)
}

func writeFile(_ path: String, _ bytes: [UInt8]) throws {
    try withFile(path, O_WRONLY | O_CREAT | O_TRUNC) { file in
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = try rest.withUnsafeBytes { try check(write(file, $0.baseAddress, $0.count)) }
            rest = rest.dropFirst(count)
        }
    }
}

func contents(_ path: String) throws -> [UInt8] {
    try withFile(path, O_RDONLY) { try readAll($0) }
}

func readAll(_ file: Int32, at start: Int = 0, chunk: Int = 300_000) throws -> [UInt8] {
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: chunk)
    while true {
        let count = try check(pread(file, &buffer, chunk, off_t(start + all.count)))
        if count == 0 { return all }
        all += buffer[..<count]
    }
}

func status(_ path: String) throws -> stat {
    var status = stat()
    try check(lstat(path, &status))
    return status
}

func names(in path: String) throws -> [[UInt8]] {
    guard let directory = opendir(path) else { throw Errno(rawValue: errno) }
    defer { closedir(directory) }
    var names: [[UInt8]] = []
    while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
        if name != [46], name != [46, 46] { names.append(name) }
    }
    return names
}

func sorted(_ names: [[UInt8]]) -> [[UInt8]] { names.sorted { $0.lexicographicallyPrecedes($1) } }

/// A program of the system's, with its input and output.
struct Child: Sendable {
    let process: pid_t
    let input: Int32
    let output: Int32

    init(_ arguments: [String]) throws {
        let (childInput, input) = try makeStream()
        let (output, childOutput) = try makeStream()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, childInput, 0)
        posix_spawn_file_actions_adddup2(&actions, childOutput, 1)
        posix_spawn_file_actions_adddup2(&actions, childOutput, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { argv.forEach { free($0) } }
        let environment: [UnsafeMutablePointer<CChar>?] = [strdup("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nil]
        defer { environment.forEach { free($0) } }
        var process = pid_t()
        let status = posix_spawnp(&process, arguments[0], &actions, &attributes, argv, environment)
        close(childInput)
        close(childOutput)
        guard status == 0 else { throw Errno(rawValue: status) }
        self.process = process
        self.input = input
        self.output = output
    }

    func readLine() throws -> String {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while try check(read(output, &byte, 1)) == 1, byte != 10 { line.append(byte) }
        return String(decoding: line, as: UTF8.self)
    }

    func readOutput() throws -> String {
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = try check(read(output, &buffer, buffer.count))
            if count == 0 { return String(decoding: all, as: UTF8.self) }
            all += buffer[..<count]
        }
    }

    /// Its standard input ends.
    func endInput() { shutdown(input, Int32(SHUT_WR)) }

    /// The exit status, or 128 + the signal's number.
    func wait() throws -> Int32 {
        var status: Int32 = 0
        try check(waitpid(process, &status, 0))
        close(input)
        close(output)
        return status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f)
    }

    /// Ended within `limit`; else nil.
    func wait(upTo limit: Duration) throws -> Int32? {
        let deadline = MonotonicTime.now.adding(limit)
        while MonotonicTime.now < deadline {
            var info = siginfo_t()
            try check(waitid(P_PID, id_t(process), &info, WEXITED | WNOHANG | WNOWAIT))
            if info.si_signo == SIGCHLD { return try wait() }
            usleep(5000)
        }
        return nil
    }

    static func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let child = try Child(arguments)
        let output = try child.readOutput()
        return (try child.wait(), output)
    }
}
