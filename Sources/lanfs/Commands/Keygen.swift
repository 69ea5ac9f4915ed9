import Glibc
import LanfsClient
import LanfsCrypto
import LanfsLocal

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
            let phrase = try load(options, directories).phrase
            try StandardOutput.print((options.json ? JSONValue.object([.init("phrase", .string(phrase))]).text : phrase) + "\n")
        case .showID:
            let id = Hex.encode(try load(options, directories).volumeID)
            try StandardOutput.print((options.json ? JSONValue.object([.init("volume", .string(id))]).text : id) + "\n")
        }
        return .success
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
        let id = Hex.encode(key.volumeID)
        if options.json {
            try StandardOutput.print(
                JSONValue.object([.init("volume", .string(id)), .init("file", .string(path.string))]).text + "\n")
        } else {
            try StandardOutput.print(id + "\n")
            if options.common.verbosity != .quiet {
                StandardError.write(
                    "lanfs: the key of this new volume is in \(path); keep a copy: without it nobody can read the volume\n")
            }
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
