import Testing

@testable import lanfs

@Suite("The command tables")
struct OptionTableTests {
    static let commands = Subcommand.commands + [MountHelper.command, Invocation.help]
    static let cases = commands.flatMap { command in
        command.options.filter { $0.long != "help" && $0.long != "version" }.map { TableRow(command: command, row: $0) }
    }

    struct TableRow: Sendable, CustomTestStringConvertible {
        let command: Command
        let row: OptionRow
        var testDescription: String { "\(command.invocation) \(row.spelling)" }
    }

    @Test("no name and no letter stands for two options of one command", arguments: commands.map(\.invocation))
    func namesAreUnique(invocation: String) throws {
        let command = try #require(Self.commands.first { $0.invocation == invocation })
        let spellings = command.options.flatMap(ShellText.spellings)
        #expect(Set(spellings).count == spellings.count)
        for row in command.options {
            #expect(row.long.utf8.allSatisfy { $0 == 0x2D || (0x61...0x7A).contains($0) })
            #expect(row.short.map(\.isASCII) ?? true)
            #expect(row.help.first?.isLowercase == true && row.help.last != ".", "\(row.help)")
            #expect(row.manual.filter { $0 == "`" }.count.isMultiple(of: 2), "\(row.manual)")
        }
    }

    @Test("every option is accepted in each of its spellings", arguments: cases)
    func everySpelling(test: TableRow) throws {
        let (command, row) = (test.command, test.row)
        let sample = samples(row).good
        var spellings: [[Argument]]
        if row.takesValue {
            spellings = [[Argument(row.spelling), sample], [Argument(Array("\(row.spelling)=".utf8) + sample.bytes)]]
            if let short = row.short {
                spellings += [[Argument("-\(short)"), sample], [Argument(Array("-\(short)".utf8) + sample.bytes)]]
            }
        } else {
            spellings = [[Argument(row.spelling)]] + (row.short.map { [[Argument("-\($0)")]] } ?? [])
        }
        if let prefix = shortestPrefix(row, command) {
            spellings.append([Argument("--\(prefix)")] + (row.takesValue ? [sample] : []))
        }
        for words in spellings {
            for line in [words + command.sampleOperands, command.sampleOperands + words] {
                let parsed = try parse(command, line)
                #expect(parsed.occurrences.map(\.option) == [row.long], "\(line)")
                #expect(parsed.occurrences.first?.value == (row.takesValue ? sample : nil), "\(line)")
                #expect(parsed.operands == command.sampleOperands, "\(line)")
            }
        }
    }

    /// The shortest beginning of the name that no other option of the command has; nil when only the whole name will
    /// do.
    private func shortestPrefix(_ row: OptionRow, _ command: Command) -> String? {
        let others = command.options.map(\.long).filter { $0 != row.long }
        return (1..<row.long.count).map { String(row.long.prefix($0)) }.first { prefix in
            !others.contains { $0.hasPrefix(prefix) }
        }
    }

    @Test("every option's value is read, and a bad one refused with the option's name", arguments: cases)
    func badValues(test: TableRow) throws {
        guard let bad = samples(test.row).bad else { return }
        // --data-dir and --capacity of mount are refused without --serve; and two names of keys without one.
        let context: [Argument] =
            test.command.name == "mount" && test.command.invocation == "lanfs mount" ? ["--serve"] : []
        let program: [Argument] =
            test.command.invocation == "mount.lanfs"
            ? ["/sbin/mount.lanfs", "none"] : ["lanfs", Argument(test.command.name)]
        let operands = test.command.invocation == "mount.lanfs" ? ["/mnt"] : test.command.sampleOperands
        let words = program + context + [Argument(Array("\(test.row.spelling)=".utf8) + bad.bytes)] + operands
        // What mount(8) passes besides -o has no effect and so no bad values.
        if ["namespace", "types"].contains(test.row.long) { return }
        let message = try #require(refusal(of: words))
        let name = test.command.invocation == "mount.lanfs" ? "-o" : test.row.spelling
        #expect(message.hasPrefix("\(name): "), "\(message)")
        #expect(!message.hasSuffix("."), "\(message)")
    }

    @Test("every option that takes a value asks for it when it is missing", arguments: cases)
    func missingValue(test: TableRow) throws {
        guard let metavar = test.row.metavar else { return }
        for spelling in ShellText.spellings(test.row) {
            #expect(
                throws: UsageError(
                    invocation: test.command.invocation, message: "\(spelling) needs a value: \(metavar)")
            ) {
                try parse(test.command, test.command.sampleOperands + [Argument(spelling)])
            }
        }
    }

    @Test("every flag refuses a value", arguments: cases)
    func flagWithValue(test: TableRow) throws {
        guard !test.row.takesValue else { return }
        #expect(throws: UsageError(invocation: test.command.invocation, message: "\(test.row.spelling) takes no value"))
        {
            try parse(test.command, test.command.sampleOperands + [Argument("\(test.row.spelling)=yes")])
        }
    }

    @Test("a slip in any long name is answered with that name", arguments: cases)
    func slips(test: TableRow) throws {
        var letters = Array(test.row.long)
        letters.remove(at: letters.count / 2)
        let slip = String(letters)
        // Shortened to a beginning of itself or another name it would be right.
        guard test.row.long.count > 4, !test.command.options.contains(where: { $0.long.hasPrefix(slip) }) else {
            return
        }
        let expected = "unknown option '--\(slip)'; did you mean '\(test.row.spelling)'?"
        #expect(throws: UsageError(invocation: test.command.invocation, message: expected)) {
            try parse(test.command, [Argument("--\(slip)")])
        }
    }

    @Test("a mount option that cannot be had is refused with what to do instead, also where unknown ones are left out")
    func refusedMountWords() throws {
        for word in MountWord.table where word.role == .refused {
            let name = Argument(word.name)
            #expect(refusal("mount", "-o", name, "/mnt") == "-o \(word.name): \(word.help)")
            #expect(refusal(of: ["mount.fuse.lanfs", "none", "/mnt", "-s", "-o", name]) != nil)
        }
    }

    @Test("what mount(8) calls independent of the file system is no unknown word")
    func wordsOfFstab() throws {
        let words: [Argument] = [
            "async", "atime", "auto", "defaults", "dev", "diratime", "dirsync", "exec", "group", "iversion", "lazytime", "loud",
            "noatime", "noauto", "nodev", "nodiratime", "noexec", "nofail", "noiversion", "nolazytime", "nomand",
            "norelatime", "nostrictatime", "nosuid", "nouser", "owner", "relatime", "ro", "rw", "silent", "strictatime",
            "suid", "sync", "user", "users", "_netdev", "x-systemd.automount", "X-mount.mkdir",
        ]
        for word in words { #expect(refusal("mount", "-o", word, "/mnt") == nil, "\(word.shown)") }
    }

    @Test(
        "every mount option is accepted, and its value read",
        arguments: MountWord.table.filter { $0.role != .refused }.map(\.name))
    func mountWords(name: String) throws {
        let word = try #require(MountWord.table.first { $0.name == name })
        let good = [
            "key": "work", "server": "nas", "timeout": "30s",
            "discovery-port": "4445", "cache-memory": "64M",
        ]
        let text = word.metavar == nil ? name : "\(name)=\(good[name] ?? "text")"
        #expect(refusal("mount", "-o", Argument("ro,\(text),noexec"), "/mnt") == nil)
        #expect(refusal(of: ["mount.fuse.lanfs", "none", "/mnt", "-o", Argument(text)]) == nil)
        if word.metavar == nil {
            let message = refusal("mount", "-o", Argument("\(name)=1"), "/mnt")
            #expect(name == "user" ? message == nil : message == "-o: '\(name)' takes no value")
        } else {
            #expect(
                refusal("mount", "-o", Argument(name), "/mnt")
                    == "-o: '\(name)' needs a value: \(text.split(separator: "=")[0])=\(word.metavar ?? "")")
        }
        if good[name] != nil {
            let message = try #require(
                refusal("mount", "-o", Argument("\(name)=-1/"), "/mnt")
                    ?? refusal("mount", "-o", Argument("\(name)="), "/mnt"))
            #expect(message.hasPrefix("-o \(name): "))
        }
    }
}
