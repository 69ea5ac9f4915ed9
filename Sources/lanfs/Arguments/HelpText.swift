/// The text of `--help`, made from a command's table and wrapped to 80 columns.
enum HelpText {
    static let columns = 80
    /// Where the explanations of options and examples start.
    private static let indent = 30

    static func text(_ help: Invocation.Help) -> String {
        switch help {
        case .overview: overview
        case .command(let command): text(command)
        }
    }

    /// What `lanfs` can do, and how one begins.
    static var overview: String {
        var text = """
            Usage: lanfs COMMAND [OPTION]... [ARGUMENT]...

            Pools the disks of the machines on a LAN into one encrypted network folder.

            Commands:

            """
        for command in Subcommand.commands + [Invocation.help] {
            text += pad("  \(command.name)", to: 14) + command.summary + "\n"
        }
        text += """

            To begin, on a machine that lends its disk and on one that uses it:
              lanfs serve
              lanfs keygen && lanfs mount ~/remote

            'lanfs help COMMAND' explains a command, 'man lanfs' everything.
            --version shows the version.

            """
        return text
    }

    static func text(_ command: Command) -> String {
        var text = "Usage: \(command.synopsis)\n\n"
        text += wrap(command.overview, to: columns) + "\n\nOptions:\n"
        for row in command.options { text += entry(synopsis(row), row.help) }
        if !command.examples.isEmpty { text += "\nExamples:\n" }
        let width = command.examples.map(\.line.count).max() ?? 0
        for example in command.examples { text += "  \(pad(example.line, to: width))  \(example.meaning)\n" }
        return text
    }

    /// An option as help writes it: `-k, --key NAME|FILE`.
    static func synopsis(_ row: OptionRow) -> String {
        let short = row.short.map { "-\($0), " } ?? "    "
        return short + "--\(row.long)" + (row.metavar.map { " \($0)" } ?? "")
    }

    /// A term and its explanation, side by side where the term leaves room.
    private static func entry(_ term: String, _ explanation: String) -> String {
        let lines = wrap(explanation, to: columns - indent).split(separator: "\n").map(String.init)
        let margin = String(repeating: " ", count: indent)
        let head = "  \(term)"
        guard head.count + 2 <= indent, let first = lines.first else {
            return head + "\n" + lines.map { margin + $0 + "\n" }.joined()
        }
        return pad(head, to: indent) + first + "\n" + lines.dropFirst().map { margin + $0 + "\n" }.joined()
    }

    static func pad(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// Breaks text at its spaces so that no line is longer than `width`, a single long word excepted.
    static func wrap(_ text: String, to width: Int) -> String {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, line.count + 1 + word.count > width {
                lines.append(line)
                line = ""
            }
            line += (line.isEmpty ? "" : " ") + word
        }
        lines.append(line)
        return lines.joined(separator: "\n")
    }
}
