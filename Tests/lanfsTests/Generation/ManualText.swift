@testable import lanfs

/// The parts of the manual pages that come from the command tables, in mdoc(7).
enum ManualText {
    /// Replaces what stands between `.\" BEGIN name` and `.\" END name`, for each name that has a text.
    static func fill(_ page: String, _ texts: [(name: String, text: String)]) throws -> String {
        var page = page
        for (name, text) in texts {
            let begin = ".\\\" BEGIN \(name)\n"
            let end = ".\\\" END \(name)\n"
            guard let start = page.firstRange(of: begin), let stop = page.firstRange(of: end),
                start.upperBound <= stop.lowerBound
            else { throw Failure("the marks of \(name) are missing") }
            page.replaceSubrange(start.upperBound..<stop.lowerBound, with: text)
        }
        return page
    }

    static func synopsis(_ command: Command) -> String {
        var lines = [".Nm \(command.invocation)", ".Op Ar OPTION ..."]
        for operand in command.operands {
            switch operand.count {
            case .one: lines.append(".Ar \(operand.metavar)")
            case .optional: lines.append(".Op Ar \(operand.metavar)")
            case .oneOrMore: lines.append(".Ar \(operand.metavar) ...")
            case .zeroOrMore: lines.append(".Op Ar \(operand.metavar) ...")
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    static func options(_ command: Command) -> String {
        var text = ".Bl -tag -width Ds\n"
        for row in command.options {
            let short = row.short.map { "Fl \($0) , " } ?? ""
            text += ".It \(short)Fl -\(row.long)\(row.metavar.map { " Ar \($0)" } ?? "")\n"
            text += prose(capitalised(row.manual))
        }
        return text + ".El\n"
    }

    static func mountWords() -> String {
        var text = ""
        let groups: [(MountWord.Role, String)] = [
            (.own, "Understood by lanfs:"), (.kernel, "Handed to the kernel:"),
            (.ignored, "Meant for others and without effect, like words that start with \\fBx\\-\\fR:"),
            (.refused, "Refused:"),
        ]
        for (role, heading) in groups {
            text += ".Pp\n\(heading)\n.Bl -tag -width Ds -compact\n"
            for word in MountWord.table where word.role == role {
                text += ".It Cm \(word.name)\(word.metavar.map { " Ns = Ns Ar \($0)" } ?? "")\n"
                text += prose(capitalised(word.help))
            }
            text += ".El\n"
        }
        // A section starts with text, not with a paragraph break.
        return String(text.dropFirst(".Pp\n".count))
    }

    static func commands() -> String {
        var text = ".Bl -tag -width Ds\n"
        for command in Subcommand.commands {
            text += ".It Xr lanfs-\(command.name) 1\n" + prose(capitalised(command.summary))
        }
        return text + ".El\n"
    }

    static func exitStatus() -> String {
        var text = ".Bl -tag -width Ds\n"
        for code in ExitCode.allCases { text += ".It \(code.rawValue)\n" + prose(code.meaning) }
        return text + ".El\n"
    }

    static func capitalised(_ text: String) -> String {
        let sentence = text.prefix(1).uppercased() + text.dropFirst()
        return sentence.hasSuffix(".") || sentence.hasSuffix(":") ? sentence : sentence + "."
    }

    /// Prose with code between backticks and references such as ls(1), one sentence a line, as mdoc wants it.
    static func prose(_ text: String) -> String {
        var lines: [String] = []
        var line = ""
        func endLine() {
            if !line.isEmpty { lines.append(line) }
            line = ""
        }
        var inCode = false
        for word in text.split(separator: " ") {
            if let reference = reference(word), !inCode {
                endLine()
                lines.append(reference)
                continue
            }
            let formatted = format(word, &inCode)
            if line.count + 1 + formatted.count > 78 { endLine() }
            line += (line.isEmpty ? "" : " ") + formatted
            if word.hasSuffix("."), !inCode { endLine() }
        }
        endLine()
        return lines.map { $0 + "\n" }.joined()
    }

    /// `mount(8),` as a macro of its own.
    private static func reference(_ word: Substring) -> String? {
        guard let open = word.firstIndex(of: "("), let close = word.firstIndex(of: ")"), open < close,
            word[..<open].allSatisfy({ $0.isLowercase || $0 == "-" || $0 == "." }), open != word.startIndex,
            word.distance(from: open, to: close) == 2
        else { return nil }
        let section = word[word.index(after: open)..<close]
        let rest = word[word.index(after: close)...].map { " \($0)" }.joined()
        return ".Xr \(word[..<open]) \(section)\(rest)"
    }

    private static func format(_ word: Substring, _ inCode: inout Bool) -> String {
        var text = ""
        for character in word {
            switch character {
            case "`":
                text += inCode ? "\\fR" : "\\fB"
                inCode.toggle()
            case "\\": text += "\\e"
            case "-" where inCode: text += "\\-"
            case "'", ".": text += text.isEmpty ? "\\&\(character)" : String(character)
            default: text.append(character)
            }
        }
        return text
    }
}
