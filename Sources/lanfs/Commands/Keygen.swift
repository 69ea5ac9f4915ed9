import Glibc
import LanfsClient
import LanfsCrypto
import LanfsLocal
import SystemPackage

/// `lanfs keygen`.
enum Keygen {
    static func run(_ options: KeygenOptions) async throws(CommandError) -> ExitCode {
        let directories = UserDirectories.current
        switch options.action {
        case .generate:
            try save(KeyMaking.generate(), options, directories)
        case .derive(let user):
            try save(KeyMaking.derive(user: user, isNew: true), options, directories)
        case .importPhrase:
            try save(readPhrase(), options, directories)
        case .exportPhrase:
            let key = try load(options, directories)
            try print(key, phrase: key.phrase, options, options.key.path(directories))
        case .showID:
            try print(try load(options, directories), phrase: nil, options, options.key.path(directories))
        }
        return .success
    }

    /// The volume's id or the phrase; as JSON all there is to say.
    private static func print(
        _ key: VolumeKey, phrase: String?, _ options: KeygenOptions, _ path: FilePath?
    ) throws(CommandError) {
        let id = Hex.encode(key.volumeID)
        guard options.json else { return try StandardOutput.print((phrase ?? id) + "\n") }
        var members: [JSONValue.Member] = []
        if case .named(let name) = options.key {
            members.append(.init("name", .string(name)))
        } else {
            members.append(.init("name", .null))
        }
        members.append("file", bytes: Array(path?.string.utf8 ?? "".utf8))
        members.append(.init("volume", .string(id)))
        if let phrase { members.append(.init("phrase", .string(phrase))) }
        try StandardOutput.print(JSONValue.object(members).text + "\n")
    }

    private static func load(
        _ options: KeygenOptions, _ directories: UserDirectories
    ) throws(CommandError) -> VolumeKey {
        do throws(KeyError) {
            return try VolumeKeys(directories).load(options.key.text)
        } catch {
            throw CommandError(.keyUnusable, error.description)
        }
    }

    private static func save(
        _ key: VolumeKey, _ options: KeygenOptions, _ directories: UserDirectories
    ) throws(CommandError) {
        let path = try KeyMaking.save(key, as: options.key.text, directories)
        try print(key, phrase: nil, options, path)
        if options.common.verbosity == .normal, !options.json {
            StandardError.write(
                "lanfs: the volume's key is in \(path)\nlanfs: keep a copy: nobody can read the volume without it\n")
        }
    }

    /// Up to the end of input, or on a terminal up to an empty line.
    private static func readPhrase() throws(CommandError) -> VolumeKey {
        let isTyped = Terminal.isTerminal(STDIN_FILENO)
        if isTyped { StandardError.write("Type the words of the key, then an empty line:\n") }
        var text = ""
        while let line = readLine(), text.utf8.count < 4096 {
            if isTyped, line.allSatisfy(\.isWhitespace) { break }
            text += line + "\n"
        }
        do throws(PhraseError) {
            return try VolumeKey(phrase: text)
        } catch {
            throw CommandError(.keyUnusable, error.description)
        }
    }
}
