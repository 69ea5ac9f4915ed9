@testable import lanfs

/// What the three completion scripts share.
enum ShellText {
    static func heading(_ shell: String) -> String {
        "# \(shell) completion for lanfs. Made from the command tables by the tests; do not edit.\n"
    }

    /// Text between single quotes, for bash and zsh.
    static func quoted(_ text: String) -> String { "'" + replace(text, ["'": "'\\''"]) + "'" }

    static func replace(_ text: String, _ replacements: [Character: String]) -> String {
        text.map { replacements[$0] ?? String($0) }.joined()
    }

    /// Every way to write the option, without a value.
    static func spellings(_ row: OptionRow) -> [String] {
        (row.short.map { ["-\($0)"] } ?? []) + [row.spelling]
    }

    static let offered = MountWord.table.filter { $0.role != .refused }
    static var mountWords: [String] { offered.map { $0.metavar == nil ? $0.name : "\($0.name)=" } }

    static var allCommands: [Command] { Subcommand.commands + [Invocation.help] }
}
