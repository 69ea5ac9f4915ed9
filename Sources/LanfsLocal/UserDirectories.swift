import Glibc
import SystemPackage

/// Where this user's files of lanfs live: the XDG base directories, each with its `lanfs` folder.
///
/// https://specifications.freedesktop.org/basedir-spec/latest/ : a variable that is unset, empty or not absolute counts
/// as not set.
public struct UserDirectories: Sendable {
    public let configuration: FilePath
    public let data: FilePath
    public let state: FilePath
    public let cache: FilePath
    public let runtime: FilePath

    /// `environment` looks a variable up; `home` is used where the XDG variable is not set.
    public init(environment: (String) -> String?, home: FilePath, user: UInt32) {
        func base(_ variable: String, default fallback: FilePath) -> FilePath {
            guard let value = environment(variable), value.hasPrefix("/") else { return fallback.appending("lanfs") }
            return FilePath(value).appending("lanfs")
        }
        configuration = base("XDG_CONFIG_HOME", default: home.appending(".config"))
        data = base("XDG_DATA_HOME", default: home.appending(".local/share"))
        state = base("XDG_STATE_HOME", default: home.appending(".local/state"))
        cache = base("XDG_CACHE_HOME", default: home.appending(".cache"))
        runtime = base("XDG_RUNTIME_DIR", default: FilePath("/tmp/lanfs-\(user)"))
    }

    /// Those of the user this process runs as.
    public static var current: UserDirectories {
        let variable = { (name: String) in getenv(name).map { String(cString: $0) } }
        let home: FilePath = variable("HOME").map { FilePath($0) } ?? "/"
        return UserDirectories(environment: variable, home: home, user: getuid())
    }

    public var keys: FilePath { configuration.appending("keys") }
    public var servers: FilePath { configuration.appending("servers") }
    public var authorized: FilePath { configuration.appending("authorized") }
    public var server: FilePath { data.appending("server") }

    /// State of one volume on this machine; `volume` is its id in hexadecimal.
    public func state(ofVolume volume: String) -> FilePath {
        state.appending("volumes").appending(volume)
    }
}
