/// What the process tells its caller when it ends. Scripts rely on the numbers: they never change.
enum ExitCode: Int32, CaseIterable, Sendable {
    case success = 0
    case failure = 1
    case usage = 2
    case noServer = 3
    case notFound = 4
    case alreadyExists = 5
    case keyUnusable = 6
    case serverRefused = 7
    case noSpace = 8

    /// The line of the table in the manual.
    var meaning: String {
        switch self {
        case .success: "Everything that was asked for was done."
        case .failure: "Something failed that has no number of its own; the message says what."
        case .usage: "The command line could not be understood. Nothing was done."
        case .noServer: "No server was found, or none of those named could be reached in time."
        case .notFound: "The file, folder or volume does not exist."
        case .alreadyExists: "The target exists already and was left alone; -f would replace it where that is offered."
        case .keyUnusable: "The volume key is missing, damaged, or readable by other users and so refused."
        case .serverRefused: "A server refused the volume, or is not the one known under its identity."
        case .noSpace: "No space is left, on the servers or on this machine."
        }
    }

    /// The same outcome in the numbers of mount(8), for the mount helper: 1 is a wrong invocation, 32 a failed mount.
    var asMountHelper: Int32 {
        switch self {
        case .success: 0
        case .usage: 1
        default: 32
        }
    }
}
