import Glibc

/// The loops of the benchmark, compiled, so that measuring costs next to nothing. `Tests/Benchmarks/run` calls it and
/// makes the table.
///
///     lanfs-benchmark LIMIT COMMAND ARGUMENT...
///
/// LIMIT is in seconds: whatever takes longer ends with exit code 124. Every command prints its result in plain numbers
/// and fails when a byte read back is not the byte written.
@main
enum Main {
    static func main() {
        do throws(Failure) {
            var arguments = Arguments(CommandLine.arguments.dropFirst())
            Watchdog.start(seconds: try arguments.number())
            try run(try arguments.text(), &arguments)
        } catch {
            complain(error.message)
            exit(1)
        }
    }

    private static func run(_ command: String, _ arguments: inout Arguments) throws(Failure) {
        switch command {
        case "write": try LargeFile(&arguments).write()
        case "read": try LargeFile(&arguments).read()
        case "verify": try LargeFile(&arguments).verify()
        case "random":
            let file = try LargeFile(&arguments)
            try file.readAtRandom(threads: try arguments.number(), seconds: try arguments.number())
        case "overwrite": try LargeFile(&arguments).overwrite(seconds: try arguments.number())
        case "create": try SmallFiles(&arguments).create()
        case "read-small": try SmallFiles(&arguments).read()
        case "delete": try SmallFiles(&arguments).delete()
        case "seeing": try Seeing(&arguments).wait()
        case "turns": try Turns(&arguments).take()
        case "tree": try SourceTree(&arguments).make()
        case "sync": try Syncing.run(&arguments)
        case "spawn": try Spawning.run(&arguments)
        default: throw Failure("no command \(command)")
        }
    }
}

func complain(_ message: String) {
    let line = Array("lanfs-benchmark: \(message)\n".utf8)
    _ = write(STDERR_FILENO, line, line.count)
}

/// Positional arguments, taken one after the other.
struct Arguments {
    private(set) var rest: ArraySlice<String>

    init(_ words: ArraySlice<String>) { rest = words }

    mutating func text() throws(Failure) -> String {
        guard let word = rest.popFirst() else { throw Failure("an argument is missing") }
        return word
    }

    mutating func number() throws(Failure) -> Int {
        let word = try text()
        guard let number = Int(word), number >= 0 else { throw Failure("\(word) is no number") }
        return number
    }
}

struct Failure: Error {
    let message: String

    init(_ message: String) { self.message = message }

    /// A system call that failed just now.
    init(_ call: String, _ path: String) { message = "\(call) \(path): \(String(cString: strerror(errno)))" }
}
