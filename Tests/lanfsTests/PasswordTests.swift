import Glibc
import Synchronization
import Testing

@testable import lanfs

/// A terminal with nobody at it but the test.
final class PseudoTerminal {
    /// The end of the person who types.
    private var outer: Int32
    /// The end of the program.
    let inner: Int32

    init() throws {
        outer = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        var lock: Int32 = 0
        var number: UInt32 = 0
        // TIOCSPTLCK and TIOCGPTN; posix_openpt and its kin are not in the Glibc module.
        guard outer >= 0, ioctl(outer, 0x4004_5431, &lock) == 0, ioctl(outer, 0x8004_5430, &number) == 0 else {
            throw Failure("no pseudo-terminal: \(errno)")
        }
        inner = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard inner >= 0 else { throw Failure("no pseudo-terminal: \(errno)") }
        _ = fcntl(outer, F_SETFL, O_NONBLOCK)
    }

    deinit {
        hangUp()
        close(inner)
    }

    func type(_ text: String) { _ = writeAll(Array(text.utf8), to: outer) }

    /// What the program has written so far.
    func drain() -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(outer, &buffer, buffer.count)
            if count <= 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Waits until the program has written `text`, and gives back all it wrote. After ten seconds it hangs up, so that
    /// the program, whose answer would never come, ends with an error.
    func wait(for text: String) -> String {
        var seen = ""
        for _ in 0..<1000 {
            seen += drain()
            if seen.contains(text) { return seen }
            usleep(10_000)
        }
        Issue.record("'\(text)' was not asked; there was '\(seen)'")
        hangUp()
        return seen
    }

    func hangUp() {
        if outer >= 0 { close(outer) }
        outer = -1
    }

    var echoes: Bool {
        var settings = termios()
        return tcgetattr(inner, &settings) == 0 && settings.c_lflag & tcflag_t(ECHO) != 0
    }

    /// Runs `body` on a thread of its own (it waits, which the few threads of the tasks must not), and `typist` meanwhile.
    func run<Result: Sendable>(
        _ body: @escaping @Sendable (borrowing ControllingTerminal) -> Result, typist: () -> Void
    ) throws -> Result {
        let descriptor = dup(inner)
        let outcome = Outcome<Result> { body(ControllingTerminal(descriptor: descriptor)) }
        var thread = pthread_t()
        let context = Unmanaged.passRetained(outcome as Work).toOpaque()
        let status = pthread_create(
            &thread, nil,
            { context in
                if let context { Unmanaged<Work>.fromOpaque(context).takeRetainedValue().perform() }
                return nil
            }, context)
        guard status == 0 else { throw Failure("no thread: \(status)") }
        typist()
        pthread_join(thread, nil)
        guard let result = outcome.result else { throw Failure("the thread ended without a result") }
        return result
    }

    private class Work { func perform() {} }

    private final class Outcome<Result: Sendable>: Work {
        /// Written by the thread and read when it has been joined.
        private(set) var result: Result?
        private let body: () -> Result
        init(_ body: @escaping () -> Result) { self.body = body }
        override func perform() { result = body() }
    }
}

private func text(_ password: borrowing Password) -> String {
    password.withBytes { String(decoding: $0, as: UTF8.self) }
}

@Suite("Asking at the terminal", .serialized)
struct PasswordTests {
    @Test("a password is not shown, and the terminal is as before")
    func hidden() throws {
        let terminal = try PseudoTerminal()
        var shown = ""
        let typed = try terminal.run { tty -> String? in
            do { return text(try tty.readPassword(prompt: "Password: ")) } catch { return nil }
        } typist: {
            shown += terminal.wait(for: "Password: ")
            #expect(!terminal.echoes)
            terminal.type("sécret wørd\n")
        }
        shown += terminal.drain()
        #expect(typed == "sécret wørd")
        #expect(!shown.contains("cret") && shown.utf8.last == UInt8(ascii: "\n"))
        #expect(terminal.echoes)
    }

    @Test("a new password is asked twice, until both agree and are not empty")
    func twice() throws {
        let terminal = try PseudoTerminal()
        let typed = try terminal.run { tty -> String? in
            do { return text(try tty.readNewPassword(prompt: "New password: ")) } catch { return nil }
        } typist: {
            _ = terminal.wait(for: "New password: ")
            terminal.type("\n")
            _ = terminal.wait(for: "New password: ")
            terminal.type("one\n")
            _ = terminal.wait(for: "again: ")
            terminal.type("two\n")
            _ = terminal.wait(for: "New password: ")
            terminal.type("three\n")
            _ = terminal.wait(for: "again: ")
            terminal.type("three\n")
        }
        #expect(typed == "three")
        #expect(terminal.echoes)
    }

    @Test("a line as long as the terminal allows is read whole or refused, and the end of input is an error")
    func limits() throws {
        let terminal = try PseudoTerminal()
        for (length, isRead) in [(Password.limit, true), (Password.limit + 1, false)] {
            let count = try terminal.run { tty -> Int? in
                do { return text(try tty.readPassword(prompt: "Password: ")).utf8.count } catch { return nil }
            } typist: {
                _ = terminal.wait(for: "Password: ")
                terminal.type(String(repeating: "x", count: length) + "\n")
            }
            #expect(count == (isRead ? length : nil))
        }
        let ended = try terminal.run { tty -> Bool in
            do { return text(try tty.readPassword(prompt: "Password: ")).isEmpty } catch { return true }
        } typist: {
            _ = terminal.wait(for: "Password: ")
            terminal.type("\u{04}")
        }
        #expect(ended && terminal.echoes)
    }

    @Test("a signal is obeyed only when the terminal shows again what is typed")
    func signal() throws {
        let terminal = try PseudoTerminal()
        // SIGHUP in place of SIGINT, which would end the test runner: ignored by nobody but caught here first.
        let received = Received()
        let former = Glibc.signal(SIGHUP) { _ in hangUps.add(1, ordering: .sequentiallyConsistent) }
        defer { _ = Glibc.signal(SIGHUP, former) }
        let failed = try terminal.run { tty -> Bool in
            do { return text(try tty.readPassword(prompt: "Password: ")).isEmpty } catch { return true }
        } typist: {
            _ = terminal.wait(for: "Password: ")
            #expect(!terminal.echoes)
            kill(getpid(), SIGHUP)
        }
        #expect(failed && terminal.echoes)
        #expect(received.waitForOne(), "the signal reaches the handler that was there before")
    }

    @Test(
        "a question is answered by yes or no",
        arguments: [
            ("\n", true), ("y\n", true), ("Yes\n", true), ("n\n", false), ("x\nNO\n", false), ("\u{04}", false),
        ])
    func question(answer: String, expected: Bool) throws {
        let terminal = try PseudoTerminal()
        let said = try terminal.run { tty in
            tty.ask("Make one?", suggestion: true)
        } typist: {
            _ = terminal.wait(for: "[Y/n] ")
            terminal.type(answer)
        }
        #expect(said == expected)
    }
}

private let hangUps = Atomic<Int>(0)

private struct Received {
    let before = hangUps.load(ordering: .sequentiallyConsistent)

    func waitForOne() -> Bool {
        for _ in 0..<500 {
            if hangUps.load(ordering: .sequentiallyConsistent) == before + 1 { return true }
            usleep(10_000)
        }
        return false
    }
}
