import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import SystemPackage

/// The other servers this one has connected to, one private file each: the secret that only the two know. To all of
/// them it shows its one identity, by which they know it as a member.
struct MemberPins: Pins {
    private static let magic = Array("lanfs member 1\n".utf8)

    private let folder: FilePath
    private let identity: StaticKeyPair

    init(_ folder: FilePath, identity: StaticKeyPair) {
        self.folder = folder
        self.identity = identity
    }

    func newClientKey() -> StaticKeyPair { identity }

    /// A file that cannot be read costs a longer handshake: the other's key is its name, and stays required.
    func pin(of server: ServerID) -> Pin? {
        guard var file = try? PrivateFile.read(path(of: server), limit: 256) else { return nil }
        defer { wipe(&file) }
        let size = Self.magic.count + 32
        guard file.count == size + sha256Size, file.starts(with: Self.magic),
            file[..<size].withUnsafeBytes({ sha256($0) }) == Array(file[size...])
        else { return nil }
        return Pin(
            server: server, clientKey: identity,
            pairwiseKey: SharedSecret(copying: Array(file[Self.magic.count..<size])))
    }

    func keep(_ pin: Pin) throws {
        var file = Self.magic
        // Room for all of it at once: growing would leave copies of the secret that nobody wipes.
        file.reserveCapacity(Self.magic.count + 32 + sha256Size)
        defer { wipe(&file) }
        pin.pairwiseKey.withUnsafeBytes { file.append(contentsOf: $0) }
        file += sha256(file)
        try PrivateFile.write(file, to: path(of: pin.server))
    }

    private func path(of server: ServerID) -> FilePath { folder.appending(server.hex) }
}
