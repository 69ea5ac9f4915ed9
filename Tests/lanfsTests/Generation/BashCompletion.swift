@testable import lanfs

enum BashCompletion {
    static var text: String {
        ShellText.heading("bash") + functions + "\n_lanfs()\n{\n" + opening + "    case $command in\n"
            + ShellText.allCommands.map(command).joined() + "    esac\n" + closing + "}\n\ncomplete -F _lanfs lanfs\n"
    }

    private static let words = ShellText.mountWords.joined(separator: " ")

    private static let functions = """

        # Offers the words that begin with what is typed.
        _lanfs_words()
        {
            mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
        }

        _lanfs_paths()
        {
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
        }

        # The names in the keys folder, and files.
        _lanfs_keys()
        {
            local file names=
            for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/lanfs/keys/*.key; do
                file=${file##*/}
                [[ $file == '*.key' ]] || names+=" ${file%.key}"
            done
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur"; compgen -f -- "$cur")
        }

        # The words of mount -o, one behind another with commas.
        _lanfs_mount_words()
        {
            local before=
            [[ $cur == *,* ]] && before=${cur%,*},
            compopt -o nospace
            mapfile -t COMPREPLY < <(compgen -P "$before" -W '\(words)' -- "${cur##*,}")
        }

        """

    private static var opening: String {
        let names = ShellText.allCommands.map(\.name).joined(separator: " ")
        return """
                local cur=${COMP_WORDS[COMP_CWORD]} option= command=${COMP_WORDS[1]}
                local values= options= operands= index word position=0 only_operands=
                COMPREPLY=()
                if ((COMP_CWORD == 1)); then
                    _lanfs_words '\(names) --help --version'
                    return
                fi
                # --option=value is three words to bash.
                option=${COMP_WORDS[COMP_CWORD - 1]}
                if [[ $cur == = ]]; then
                    cur=
                elif [[ $option == = ]]; then
                    option=${COMP_WORDS[COMP_CWORD - 2]}
                elif [[ $option == -[!-]?* ]]; then
                    option=-${option: -1}
                fi

            """
    }

    private static func command(_ command: Command) -> String {
        let values = command.options.filter(\.takesValue)
        var text = "        \(command.name))\n"
        text += "            options='\(command.options.flatMap(ShellText.spellings).joined(separator: " "))'\n"
        text += "            values=' \(values.flatMap(ShellText.spellings).joined(separator: " ")) '\n"
        text += "            operands=(\(command.operands.map { action($0.completion) }.joined(separator: " ")))\n"
        if !values.isEmpty {
            text += "            case $option in\n"
            for row in values {
                let pattern = ShellText.spellings(row).joined(separator: " | ")
                text += "                \(pattern)) \(statement(row.completion)); return ;;\n"
            }
            text += "            esac\n"
        }
        return text + "            ;;\n"
    }

    private static let closing = """
            # Which operand it is: the words so far that are neither options nor values of options.
            for ((index = 2; index < COMP_CWORD; index++)); do
                word=${COMP_WORDS[index]}
                if [[ $only_operands ]]; then
                    ((position++))
                elif [[ $word == -- ]]; then
                    only_operands=yes
                elif [[ $values == *" $word "* ]]; then
                    [[ ${COMP_WORDS[index + 1]} == = ]] && ((index++))
                    ((index++))
                elif [[ $word != -?* ]]; then
                    ((position++))
                fi
            done
            if [[ $cur == -* && ! $only_operands ]]; then
                _lanfs_words "$options"
                return
            fi
            ((position < ${#operands[@]})) || position=$((${#operands[@]} - 1))
            ((position >= 0)) || return
            case ${operands[position]} in
                files) _lanfs_paths -f ;;
                folders) _lanfs_paths -d ;;
                keys) _lanfs_keys ;;
                commands) _lanfs_words '\(Subcommand.allCases.map(\.rawValue).joined(separator: " "))' ;;
            esac

        """

    /// The word in `operands` for what an operand is.
    private static func action(_ completion: Completion) -> String {
        switch completion {
        case .nothing, .host, .mountWords: "nothing"
        case .file: "files"
        case .directory: "folders"
        case .key: "keys"
        case .command: "commands"
        }
    }

    private static func statement(_ completion: Completion) -> String {
        switch completion {
        case .nothing, .command: ":"
        case .file: "_lanfs_paths -f"
        case .directory: "_lanfs_paths -d"
        case .host: "_lanfs_words \"$(compgen -A hostname)\""
        case .key: "_lanfs_keys"
        case .mountWords: "_lanfs_mount_words"
        }
    }
}
