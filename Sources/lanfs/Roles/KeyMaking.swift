import LanfsClient
import LanfsCrypto
import LanfsLocal
import LanfsProtocol
import SystemPackage

/// Making volume keys, for `keygen` and for the commands that offer it.
enum KeyMaking {
    static func generate() -> VolumeKey { VolumeKey.generate() }

    /// From a name and a password asked on the terminal: twice when the key is new.
    static func derive(user: String, isNew: Bool) throws(CommandError) -> VolumeKey {
        guard let terminal = ControllingTerminal() else {
            throw CommandError(.keyUnusable, "a password is asked on the terminal, and there is none; use a key file instead")
        }
        let password =
            isNew
            ? try terminal.readNewPassword(prompt: "Password of \(user): ")
            : try terminal.readPassword(prompt: "Password of \(user): ")
        if isNew, password.isShort {
            StandardError.write(
                "lanfs: a password so short can be guessed by whoever stores the volume; take several words\n")
        }
        do throws(CryptoError) {
            return try password.withBytes { (bytes) throws(CryptoError) in
                try VolumeKey.derive(user: user, password: SecretBytes(copying: bytes))
            }
        } catch {
            throw CommandError(.keyUnusable, error.description)
        }
    }

    /// Never overwrites. The machine that makes a key may also make its volume (F5).
    static func save(
        _ key: VolumeKey, as name: String, _ directories: UserDirectories
    ) throws(CommandError) -> FilePath {
        do throws(KeyError) {
            let path = try VolumeKeys(directories).save(key, as: name)
            if let id = VolumeID(key.volumeID) { VolumeOrigin(directories).noteMadeHere(id) }
            return path
        } catch .file(.exists(let path)) {
            throw CommandError(.alreadyExists, LocalFileError.exists(path).description)
        } catch {
            throw CommandError(.keyUnusable, error.description)
        }
    }
}

/// Which volumes' keys were made on this machine and whose volumes are still to be made: only those are created without
/// `--create` (F5).
struct VolumeOrigin: Sendable {
    private let directories: UserDirectories

    init(_ directories: UserDirectories) { self.directories = directories }

    private func path(_ volume: VolumeID) -> FilePath {
        directories.state(ofVolume: volume.hex).appending("made-here")
    }

    /// Losing this note costs a `--create`, no more, so a failure is not worth an error.
    func noteMadeHere(_ volume: VolumeID) { try? PrivateFile.write([], to: path(volume)) }
    func wasMadeHere(_ volume: VolumeID) -> Bool { (try? PrivateFile.read(path(volume))) != nil }
    func forget(_ volume: VolumeID) { try? PrivateFile.remove(path(volume)) }
}
