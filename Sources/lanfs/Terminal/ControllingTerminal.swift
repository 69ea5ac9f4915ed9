import Glibc

/// The terminal the user sits at, /dev/tty, whatever standard input and output are connected to.
struct ControllingTerminal: ~Copyable {
    private let descriptor: Int32

    /// Nil: there is nobody to ask.
    init?() {
        let descriptor = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { return nil }
        self.descriptor = descriptor
    }

    /// Uses this terminal, which it closes at the end.
    init(descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// Asks for a password without showing it.
    func readPassword(prompt: String) throws(CommandError) -> Password {
        while true {
            switch try readHidden(prompt: prompt) {
            case .typed(let password): return password
            case .stopped: continue  // Ctrl-Z and fg: ask again
            }
        }
    }

    /// Asks for a new password twice; three times in all when the two differ.
    func readNewPassword(prompt: String) throws(CommandError) -> Password {
        for _ in 0..<3 {
            let first = try readPassword(prompt: prompt)
            if first.isEmpty {
                write("The password must not be empty.\n")
                continue
            }
            let second = try readPassword(prompt: "The same again: ")
            if first.equals(second) { return first }
            write("The two passwords differ.\n")
        }
        throw CommandError(.failure, "no password was agreed on after three attempts")
    }

    /// Asks a question that is answered by yes or no; an empty answer is `suggestion`, the end of input and Ctrl-C are no.
    func ask(_ question: String, suggestion: Bool) -> Bool {
        guard let signals = CaughtSignals() else { return false }
        for _ in 0..<3 {
            write("\(question) [\(suggestion ? "Y/n" : "y/N")] ")
            guard let answer = readLine(signals) else {
                write("\n")
                return false
            }
            switch answer.filter({ $0 != " " }).lowercased() {
            case "": return suggestion
            case "y", "yes": return true
            case "n", "no": return false
            default: write("Please answer y or n.\n")
            }
        }
        return false
    }

    func write(_ text: String) { _ = writeAll(Array(text.utf8), to: descriptor) }

    /// One line without its end; nil at the end of input or when a signal came.
    private func readLine(_ signals: borrowing CaughtSignals) -> String? {
        var line: [UInt8] = []
        while line.count < 4096 {
            var sources = [
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&sources, 2, -1) >= 0 || errno == EINTR, signals.received() == nil else { return nil }
            guard sources[0].revents != 0 else { continue }
            var byte: UInt8 = 0
            let count = read(descriptor, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count == 1 else { return line.isEmpty ? nil : String(decoding: line, as: UTF8.self) }
            if byte == UInt8(ascii: "\n") { break }
            line.append(byte)
        }
        return String(decoding: line, as: UTF8.self)
    }

    private enum Typed: ~Copyable {
        case typed(Password)
        case stopped
    }

    private func readHidden(prompt: String) throws(CommandError) -> Typed {
        var pending: Int32?
        var result: Result<Void, CommandError> = .success(())
        var password = Password()
        do {
            guard let signals = CaughtSignals() else {
                throw CommandError(.failure, "the terminal cannot be prepared for a password: \(lastError())")
            }
            var former = termios()
            guard tcgetattr(descriptor, &former) == 0 else {
                throw CommandError(.failure, "a password can be typed on a terminal only: \(lastError())")
            }
            var hidden = former
            hidden.c_lflag &= ~tcflag_t(ECHO)
            hidden.c_lflag |= tcflag_t(ECHONL | ICANON | ISIG)
            // What was typed ahead was shown already, and is no password.
            guard tcsetattr(descriptor, TCSAFLUSH, &hidden) == 0 else {
                throw CommandError(.failure, "the terminal does not let its echo be turned off: \(lastError())")
            }
            write(prompt)
            do {
                pending = try fill(&password, signals)
            } catch {
                result = .failure(error)
            }
            tcsetattr(descriptor, TCSAFLUSH, &former)
        }
        // The terminal and the signals' actions are as they were: now obey.
        if let pending {
            write("\n")
            kill(getpid(), pending)
            if pending == SIGTSTP { return .stopped }
            throw .interrupted
        }
        try result.get()
        return .typed(password)
    }

    /// Reads up to the end of the line; gives back a signal that came first.
    private func fill(_ password: inout Password, _ signals: borrowing CaughtSignals) throws(CommandError) -> Int32? {
        while true {
            var sources = [
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            guard poll(&sources, 2, -1) >= 0 || errno == EINTR else {
                throw CommandError(.failure, "the terminal cannot be read: \(lastError())")
            }
            if let signal = signals.received() { return signal }
            guard sources[0].revents != 0 else { continue }
            var byte: UInt8 = 0
            let count = read(descriptor, &byte, 1)
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count == 1 else {
                throw CommandError(.failure, "the password was not finished: the terminal has ended")
            }
            if byte == UInt8(ascii: "\n") { return nil }
            guard password.append(byte) else {
                throw CommandError(.failure, "the password is longer than \(Password.limit) bytes")
            }
        }
    }

    private func lastError() -> String { String(cString: strerror(errno)) }
}
