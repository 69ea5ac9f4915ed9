import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import SystemPackage

/// The servers this user has met, one private file each:
///
///     lanfs-server 1
///     server 64 hexadecimal digits     its static public key, which is its id
///     client 64 hexadecimal digits     this user's private key for this server
///     pairwise 64 hexadecimal digits   mixed into every handshake after the first
///     address HOST:PORT                where it was last, any number
public struct ServerPins: Pins {
    private let folder: FilePath

    public init(_ directories: UserDirectories = .current) {
        folder = directories.servers
    }

    func path(of server: ServerID) -> FilePath { folder.appending(server.hex) }

    public func pin(of server: ServerID) -> Pin? { load(server)?.pin }

    /// Where the server was last seen.
    public func endpoints(of server: ServerID) -> [Endpoint] { load(server)?.endpoints ?? [] }

    public func keep(_ pin: Pin) throws {
        try write(pin, endpoints(of: pin.server))
    }

    /// Remembers where a pinned server was found.
    public func keep(_ endpoints: [Endpoint], of server: ServerID) throws(LocalFileError) {
        guard let known = load(server), known.endpoints != endpoints else { return }
        try write(known.pin, endpoints)
    }

    private func write(_ pin: Pin, _ endpoints: [Endpoint]) throws(LocalFileError) {
        var text = "lanfs-server 1\nserver \(pin.server.hex)\n"
        text += "client \(pin.clientKey.privateKey.withUnsafeBytes { Hex.encode($0) })\n"
        text += "pairwise \(pin.pairwiseKey.withUnsafeBytes { Hex.encode($0) })\n"
        for endpoint in endpoints.prefix(8) { text += "address \(endpoint)\n" }
        try PrivateFile.write(Array(text.utf8), to: path(of: pin.server))
    }

    private func load(_ server: ServerID) -> (pin: Pin, endpoints: [Endpoint])? {
        // A pin that cannot be read is as good as none for the pairwise key; the server's key is in the file's name and
        // stays required.
        guard let bytes = try? PrivateFile.read(path(of: server), limit: 4096) else { return nil }
        var values: [Substring: Substring] = [:]
        var endpoints: [Endpoint] = []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 1)
            guard words.count == 2 else { continue }
            if words[0] == "address", let endpoint = Endpoint(String(words[1]), defaultPort: 0) {
                endpoints.append(endpoint)
            } else {
                values[words[0]] = words[1]
            }
        }
        guard values["lanfs-server"] == "1", let id = values["server"].flatMap({ ServerID(hex: $0) }), id == server,
            let client = values["client"].flatMap({ Hex.decode(String($0)) }), client.count == 32,
            let pairwise = values["pairwise"].flatMap({ Hex.decode(String($0)) }), pairwise.count == 32,
            let clientKey = try? StaticKeyPair(privateKey: SharedSecret(copying: client))
        else { return nil }
        return (
            Pin(server: server, clientKey: clientKey, pairwiseKey: SharedSecret(copying: pairwise)), endpoints
        )
    }
}
