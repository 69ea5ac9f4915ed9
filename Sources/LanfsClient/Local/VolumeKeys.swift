import LanfsCrypto
import LanfsLocal
import SystemPackage

public enum KeyError: Error, CustomStringConvertible {
    case file(LocalFileError)
    case damaged(FilePath, KeyFileError)
    /// `name`: what it was asked for by, a path when it has a slash.
    case missing(FilePath, name: String)
    case badName(String)

    public var description: String {
        switch self {
        case .file(let error): "\(error)"
        case .damaged(let path, let error):
            "the key file \(path) is damaged: \(error). Put back a copy, or make it anew from the written phrase with: "
                + "lanfs keygen --import"
        case .missing(let path, let name):
            "there is no volume key at \(path). Make one with: lanfs keygen\(Self.argument(name)); or bring one from "
                + "another machine with: lanfs keygen --import\(Self.argument(name))"
        case .badName(let name):
            "'\(name)' is no name for a key: use letters, digits, '-', '_' and '.', or give a path with a '/'"
        }
    }

    /// What `lanfs keygen` has to be told to make it there.
    private static func argument(_ name: String) -> String {
        name == VolumeKeys.defaultName ? "" : name.contains("/") ? " '\(name)'" : " \(name)"
    }
}

/// The volume key files of this user.
public struct VolumeKeys: Sendable {
    public static let defaultName = "default"
    private let directories: UserDirectories

    public init(_ directories: UserDirectories = .current) {
        self.directories = directories
    }

    /// `name` is a path when it has a slash, otherwise a key in the user's own folder.
    public func path(of name: String) throws(KeyError) -> FilePath {
        if name.contains("/") { return FilePath(name) }
        let allowed = name.utf8.allSatisfy {
            switch $0 {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard allowed, !name.isEmpty, !name.hasPrefix(".") else { throw .badName(name) }
        return directories.keys.appending("\(name).key")
    }

    public func load(_ name: String) throws(KeyError) -> VolumeKey {
        let path = try path(of: name)
        let found: [UInt8]?
        do throws(LocalFileError) {
            found = try PrivateFile.read(path)
        } catch {
            throw .file(error)
        }
        guard var bytes = found else { throw .missing(path, name: name) }
        defer { wipe(&bytes) }
        do throws(KeyFileError) {
            return try VolumeKeyFile.decode(bytes)
        } catch {
            throw .damaged(path, error)
        }
    }

    /// Refuses to overwrite. Returns where the key now is.
    public func save(_ key: VolumeKey, as name: String) throws(KeyError) -> FilePath {
        let path = try path(of: name)
        var bytes = VolumeKeyFile.encode(key).withUnsafeBytes { Array($0) }
        defer { wipe(&bytes) }
        do throws(LocalFileError) {
            try PrivateFile.write(bytes, to: path, replacing: false)
        } catch {
            throw .file(error)
        }
        return path
    }
}
