/// A command line that cannot be meant: what is wrong with it, and where to read more.
struct UsageError: Error, Equatable {
    /// The command whose words were being read, as it was started: `lanfs put`, or `lanfs` when none was recognised.
    let invocation: String
    let message: String

    /// The two lines that the user sees.
    var text: String {
        "\(invocation): \(message)\nTry '\(invocation) --help' for more information.\n"
    }
}
