import Testing

@testable import lanfs

@Suite("Completions of the shells")
struct CompletionTests {
    @Test("each script is what the command tables make of it")
    func scriptsMatchTables() throws {
        try GeneratedFile.check("completions/lanfs.bash", equals: BashCompletion.text)
        try GeneratedFile.check("completions/_lanfs", equals: ZshCompletion.text)
        try GeneratedFile.check("completions/lanfs.fish", equals: FishCompletion.text)
    }

    /// What bash offers for a command line that ends in the word being typed.
    private func bash(_ words: [String], folder: String = "/") throws -> [String] {
        let list = words.map(ShellText.quoted).joined(separator: " ")
        let script = """
            cd \(folder) || exit; compopt() { :; }
            . \(ShellText.quoted(GeneratedFile.path("completions/lanfs.bash")))
            COMP_WORDS=(\(list)); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _lanfs; printf '%s\\n' "${COMPREPLY[@]}"
            """
        let result = try shell("bash --norc -c \(ShellText.quoted(script))")
        #expect(result.status == 0, "\(result.output)")
        return result.output.split(separator: "\n").map(String.init)
    }

    @Test("bash offers every option of every command", arguments: ShellText.allCommands.map(\.name))
    func bashOffersEveryOption(name: String) throws {
        let command = try #require(ShellText.allCommands.first { $0.name == name })
        let offered = try bash(["lanfs", name, "--"])
        #expect(Set(offered) == Set(command.options.map(\.spelling)))
        let short = try bash(["lanfs", name, "-"])
        #expect(Set(short) == Set(command.options.flatMap(ShellText.spellings)))
    }

    @Test("bash offers commands, mount options, folders and key names where they belong")
    func bashOffersValues() throws {
        #expect(try bash(["lanfs", "p"]) == ["put"])
        #expect(try bash(["lanfs", "help", "ke"]) == ["keygen"])
        #expect(try bash(["lanfs", "mount", "-o", "ro,allow_o"]) == ["ro,allow_other"])
        #expect(try bash(["lanfs", "mount", "--options", "=", "cache-m"]) == ["cache-memory="])
        #expect(try bash(["lanfs", "mount", "-fo", "nosu"]) == ["nosuid"])
        #expect(try bash(["lanfs", "put", "--capacity", ""]).contains("put") == false)
        #expect(try bash(["lanfs", "serve", "--data-dir", "=", "et"]) == ["etc"])
        #expect(try bash(["lanfs", "serve", "--capacity", ""]) == [])
        #expect(try bash(["lanfs", "get", "-k", "name", "some"], folder: "/") == [])
        #expect(try bash(["lanfs", "get", "-k", "name", "some", "et"]) == ["etc"])
        #expect(try bash(["lanfs", "ls", ""]) == [])
        let folder = try shell("d=$(mktemp -d); mkdir -p $d/lanfs/keys; touch $d/lanfs/keys/work.key; printf %s $d")
            .output
        defer { _ = try? shell("rm -r \(folder)") }
        let script = ShellText.quoted(GeneratedFile.path("completions/lanfs.bash"))
        let keys = try shell(
            """
            cd \(folder); export XDG_CONFIG_HOME=$PWD; . \(script); compopt() { :; }
            COMP_WORDS=(lanfs ls --key wo); COMP_CWORD=3; _lanfs; echo "${COMPREPLY[@]}"
            """, with: "bash")
        #expect(keys.output == "work\n", "each name is offered once")
    }

    @Test("fish loads its script and offers options, commands and mount options", .enabled(if: isInstalled("fish")))
    func fishOffers() throws {
        let script = GeneratedFile.path("completions/lanfs.fish")
        func fish(_ line: String) throws -> [String] {
            let result = try shell(
                "cd / && fish --no-config -c \(ShellText.quoted("source \(script); complete -C \"\(line)\""))")
            #expect(result.status == 0, "\(result.output)")
            return result.output.split(separator: "\n").map { String($0.split(separator: "\t").first ?? "") }
        }
        for command in ShellText.allCommands {
            #expect(Set(try fish("lanfs \(command.name) --")) == Set(command.options.map(\.spelling)))
        }
        #expect(try fish("lanfs p") == ["put"])
        #expect(try fish("lanfs mount -o ro,allow_o") == ["ro,allow_other"])
        #expect(try fish("lanfs help ke") == ["keygen"])
        #expect(try fish("lanfs mount et") == ["etc/"])
    }

    /// Prints what an interactive zsh makes of the line in $2 when the tab key is pressed behind it.
    private static let pressTab = #"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        # A widget on Ctrl-X writes the line between marks as it stands after completion.
        zpty -w shell "PS1= PS2=; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; unsetopt beep
        show() { print -r -- \"<<<\$BUFFER>>>\"; exit }
        zle -N show; bindkey '^X' show; bindkey '^I' complete-word; print READY-\$((1+1))"
        zpty -r shell output '*READY-2*'
        zpty -n -w shell "$2"$'\t\x18'
        zpty -r shell output '*>>>*'
        output=${output##*<<<}
        print -rn -- ${output%%>>>*}
        """#

    @Test("zsh loads its script and offers options, commands and mount options", .enabled(if: isInstalled("zsh")))
    func zshOffers() throws {
        func zsh(_ line: String) throws -> String {
            let script = ShellText.quoted(Self.pressTab)
            let functions = GeneratedFile.path("completions")
            return try shell("cd / && zsh -f -c \(script) complete \(functions) \(ShellText.quoted(line))").output
        }
        #expect(try zsh("lanfs key") == "lanfs keygen ")
        #expect(try zsh("lanfs put --recu") == "lanfs put --recursive ")
        #expect(try zsh("lanfs serve --cap") == "lanfs serve --capacity=")
        #expect(try zsh("lanfs mount -o ro,allow_ot") == "lanfs mount -o ro,allow_other,")
        #expect(try zsh("lanfs mount --data-dir /et") == "lanfs mount --data-dir /etc/")
        #expect(try zsh("lanfs help disc") == "lanfs help discover ")
    }
}
