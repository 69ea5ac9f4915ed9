@testable import lanfs

enum FishCompletion {
    static var text: String {
        var text = ShellText.heading("fish") + functions + "\ncomplete -c lanfs -f\n"
        for command in ShellText.allCommands {
            text += "complete -c lanfs -n __lanfs_needs_command -a \(command.name) -d \(quoted(command.summary))\n"
        }
        text += "complete -c lanfs -n __lanfs_needs_command -l help -d 'show the commands'\n"
        text += "complete -c lanfs -n __lanfs_needs_command -l version -d 'show the version'\n"
        for command in ShellText.allCommands { text += self.command(command) }
        return text
    }

    private static let functions = """

        function __lanfs_needs_command
            test (count (commandline -opc)) -eq 1
        end

        function __lanfs_command_is
            set -l words (commandline -opc)
            test (count $words) -ge 2; and test $words[2] = $argv[1]
        end

        # The names in the keys folder.
        function __lanfs_keys
            set -l folder $HOME/.config
            set -q XDG_CONFIG_HOME; and set folder $XDG_CONFIG_HOME
            for file in $folder/lanfs/keys/*.key
                string replace -r '.*/(.*)\\.key$' '$1' -- $file
            end
        end

        function __lanfs_mount_words
            printf '%s\\n' \(ShellText.mountWords.joined(separator: " "))
        end

        """

    private static func command(_ command: Command) -> String {
        let base = "complete -c lanfs -n '__lanfs_command_is \(command.name)'"
        var text = "\n"
        for row in command.options {
            let short = row.short.map { " -s \($0)" } ?? ""
            let value = row.takesValue ? " \(arguments(row.completion))" : ""
            text += "\(base)\(short) -l \(row.long)\(value) -d \(quoted(row.help))\n"
        }
        // fish does not count operands: whatever one of them can be is offered for all.
        var offered: Set<String> = []
        for operand in command.operands {
            let offer = operandArguments(operand.completion)
            if let offer, offered.insert(offer).inserted { text += "\(base) \(offer)\n" }
        }
        return text
    }

    private static func arguments(_ completion: Completion) -> String {
        switch completion {
        case .nothing, .command: "-x"
        case .file: "-r -F"
        case .directory: "-x -a '(__fish_complete_directories)'"
        case .host: "-x -a '(__fish_print_hostnames)'"
        case .key: "-r -F -a '(__lanfs_keys)'"
        case .mountWords: "-x -a '(__fish_complete_list , __lanfs_mount_words)'"
        }
    }

    private static func operandArguments(_ completion: Completion) -> String? {
        switch completion {
        case .nothing, .host, .mountWords: nil
        case .file: "-F"
        case .directory: "-a '(__fish_complete_directories)'"
        case .key: "-F -a '(__lanfs_keys)'"
        case .command: "-a '\(Subcommand.allCases.map(\.rawValue).joined(separator: " "))'"
        }
    }

    private static func quoted(_ text: String) -> String {
        "'" + ShellText.replace(text, ["'": "\\'", "\\": "\\\\"]) + "'"
    }
}
