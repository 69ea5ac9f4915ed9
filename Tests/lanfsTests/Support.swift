import Glibc

@testable import lanfs

/// Reads a command line, without the program's own name.
func invoke(_ words: Argument...) throws(UsageError) -> Invocation { try Invocation.parse(["lanfs"] + words) }

/// The message a command line is refused with; nil when it is accepted.
func refusal(_ words: Argument...) -> String? { refusal(of: ["lanfs"] + words) }

func refusal(of words: [Argument]) -> String? {
    do {
        _ = try Invocation.parse(words)
        return nil
    } catch {
        return error.message
    }
}

/// Sorts words by a command's table.
func parse(_ command: Command, _ words: [Argument]) throws -> ParsedArguments {
    guard case .arguments(let parsed) = try Parser.parse(words[...], for: command) else {
        throw Failure("help or version instead of arguments")
    }
    return parsed
}

func value<Value: ArgumentValue>(_ text: String, as type: Value.Type = Value.self) throws(BadValue) -> Value {
    try Value(argument: Argument(text))
}

func complaint<Value: ArgumentValue>(_ text: Argument, as type: Value.Type) -> String? {
    do {
        _ = try Value(argument: text)
        return nil
    } catch {
        return error.why
    }
}

extension Command {
    /// Words that satisfy the command's operands.
    var sampleOperands: [Argument] {
        operands.filter { $0.count == .one || $0.count == .oneOrMore }.map { _ in "somewhere" }
    }
}

/// A value that an option accepts, and one that it refuses where there is one.
func samples(_ row: OptionRow) -> (good: Argument, bad: Argument?) {
    switch row.metavar {
    case nil: ("", nil)
    case "DIR", "FILE": ("some/file", "")
    case "SIZE": ("64MiB", "64Q")
    case "DURATION": ("90s", "90")
    case "N": ("3", "0")
    case "PORT": ("4445", "65536")
    case "NAME": ("alice", "")
    case "NAME|FILE": ("work", ".hidden")
    case "HOST[:PORT]": ("nas:4445", "nas:0")
    case "ADDRESS": ("::1", "localhost")
    case "ID[:QUOTA]": (Argument(String(repeating: "a1", count: 32) + ":1G"), "a1:1G")
    case "OPT[,OPT]...": ("ro,noexec", "rq")
    case "NS", "TYPE": ("text", "")
    case let other?: fatalError("the tests have no sample for \(other)")
    }
}

func openForWriting(_ path: String) throws -> Int32 {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Failure("\(path) cannot be opened: \(errno)") }
    return descriptor
}
