@testable import lanfs

enum ZshCompletion {
    static var text: String {
        "#compdef lanfs\n" + ShellText.heading("zsh") + functions + """

            _lanfs()
            {
                local curcontext=$curcontext context state state_descr line
                typeset -A opt_args
                if ((CURRENT == 2)); then
                    if [[ $words[2] == -* ]]; then
                        _arguments '--help[show the commands]' '--version[show the version]'
                    else
                        _lanfs_commands
                    fi
                    return
                fi
                local command=$words[2]
                shift words
                ((CURRENT--))
                case $command in

            """ + ShellText.allCommands.map(command).joined() + """
                    esac
                }

                _lanfs "$@"

                """
    }

    private static var functions: String {
        var text = "\n_lanfs_commands()\n{\n    local -a commands=(\n"
        for command in ShellText.allCommands {
            text += "        " + ShellText.quoted("\(command.name):\(command.summary)") + "\n"
        }
        return text + """
                )
                _describe -t commands command commands
            }

            _lanfs_keys()
            {
                local -a names=(${XDG_CONFIG_HOME:-$HOME/.config}/lanfs/keys/*.key(N:t:r))
                _alternative "keys:key:compadd -a names" 'files:file:_files'
            }

            _lanfs_mount_words()
            {
                _values -s , 'mount option' \(values)
            }

            """
    }

    /// The words of `mount -o` as _values wants them.
    private static var values: String {
        ShellText.offered.map { word in
            let help = escaped(ShellText.replace(word.help, ["`": ""]).dropLast())
            return ShellText.quoted("\(word.name)[\(help)]" + (word.metavar.map { ":\(escaped($0)): " } ?? ""))
        }.joined(separator: " \\\n        ")
    }

    private static func command(_ command: Command) -> String {
        var lines: [String] = []
        for row in command.options { lines += specifications(row) }
        for (index, operand) in command.operands.enumerated() {
            let isLast = index == command.operands.count - 1
            let repeats = operand.count == .oneOrMore || operand.count == .zeroOrMore
            // A first operand that repeats is followed by every other: the last one says what those complete to.
            let position =
                repeats && isLast ? "*" : isLast && index > 0 && command.mostOperands == nil ? "*" : "\(index + 1)"
            lines.append("\(position):\(escaped(operand.metavar)):\(action(operand.completion))")
        }
        let arguments = lines.map { "                " + ShellText.quoted($0) }.joined(separator: " \\\n")
        return "        \(command.name))\n            _arguments -s -S : \\\n\(arguments)\n            ;;\n"
    }

    private static func specifications(_ row: OptionRow) -> [String] {
        let exclusion = row.repeatable ? "*" : "(\(ShellText.spellings(row).joined(separator: " ")))"
        let value = row.metavar.map { ":\(escaped($0)):\(action(row.completion))" } ?? ""
        let help = "[\(escaped(row.help))]\(value)"
        let short = row.short.map { ["\(exclusion)-\($0)\(row.takesValue ? "+" : "")\(help)"] } ?? []
        return short + ["\(exclusion)--\(row.long)\(row.takesValue ? "=" : "")\(help)"]
    }

    private static func action(_ completion: Completion) -> String {
        switch completion {
        case .nothing: " "
        case .file: "_files"
        case .directory: "_files -/"
        case .host: "_hosts"
        case .key: "_lanfs_keys"
        case .command: "_lanfs_commands"
        case .mountWords: "_lanfs_mount_words"
        }
    }

    private static func escaped(_ text: some StringProtocol) -> String {
        ShellText.replace(String(text), ["[": "\\[", "]": "\\]", ":": "\\:"])
    }
}
