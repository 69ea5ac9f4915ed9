/// A type that an option's value or an operand is read into.
protocol ArgumentValue: Sendable {
    /// What a shell offers while such a value is being typed.
    static var completion: Completion { get }
    init(argument: Argument) throws(BadValue)
}

/// Why a value was refused: a clause that names the value and says what is accepted.
struct BadValue: Error, Equatable {
    let why: String
    init(_ why: String) { self.why = why }
}

/// What the shells' completions offer for a value or an operand.
enum Completion: Hashable, Sendable {
    case nothing
    case file
    case directory
    case host
    /// The names of the key files in the user's keys folder, and files.
    case key
    case command
    /// A comma-separated list of the words `mount -o` knows.
    case mountWords
}

/// Reads text that must be there, be UTF-8, hold no control character and have at most `limit` bytes.
func readText(_ argument: Argument, what: String, limit: Int) throws(BadValue) -> String {
    guard !argument.bytes.isEmpty else { throw BadValue("\(what) must not be empty") }
    guard argument.bytes.count <= limit else {
        throw BadValue("\(what) has \(argument.bytes.count) bytes; at most \(limit) are accepted")
    }
    guard let text = argument.text else { throw BadValue("\(argument.quoted) is not valid UTF-8") }
    guard !Printable.needsEscape(argument.bytes) else {
        throw BadValue("\(argument.quoted) contains control characters; \(what) must not")
    }
    return text
}
