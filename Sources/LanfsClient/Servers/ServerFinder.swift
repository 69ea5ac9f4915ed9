import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import NIOCore

/// Finds the servers that keep a volume: where they were last, by broadcast, and at the hosts a person named.
public struct ServerFinder: Sendable {
    /// A host that a person named; without a port it is asked by a discovery datagram.
    public struct Host: Equatable, Sendable {
        public var name: String
        public var port: Int?

        public init(name: String, port: Int?) {
            self.name = name
            self.port = port
        }
    }

    public var hosts: [Host]
    public var discoveryPort: Int
    public var wait: Duration
    let pins: ServerPins
    let directories: UserDirectories
    let group: any EventLoopGroup

    public init(
        hosts: [Host] = [], discoveryPort: Int = DiscoveryResponder.standardPort, wait: Duration = .milliseconds(700),
        pins: ServerPins, directories: UserDirectories, group: any EventLoopGroup
    ) {
        self.hosts = hosts
        self.discoveryPort = discoveryPort
        self.wait = wait
        self.pins = pins
        self.directories = directories
        self.group = group
    }

    /// Everyone who answers. `need`: bytes of free room.
    public func search(
        for volume: VolumeID? = nil, need: UInt64 = 0, wanted: ServerID? = nil
    ) async throws(NetworkError) -> [FoundServer] {
        var search = ServerSearch()
        search.port = discoveryPort
        search.need = need
        search.wait = wait
        search.wanted = wanted
        search.hosts = hosts.map { Endpoint(host: $0.name, port: discoveryPort) }
        if let volume {
            search.volumeToken = { Discovery.token(volume: volume, nonce: $0, RecordHasher()) }
        }
        return try await search.run(group: group)
    }

    /// Servers of `volume`: any of them can tell who the others are. With `create`, the one with the most room when none
    /// keeps it yet.
    public func servers(of volume: VolumeID, create: Bool) async throws(VolumeError) -> [VolumeServer] {
        let remembered = try lastServers(of: volume)
        if let named = try await namedServer() {
            return [named] + remembered.filter { $0 != named.server }.map { server($0, nil, pins.endpoints(of: $0), capacity: 0) }
        }
        if hosts.isEmpty, remembered.contains(where: { !pins.endpoints(of: $0).isEmpty }) {
            // Asked there first; the links search by broadcast at the same time.
            return remembered.map { server($0, nil, pins.endpoints(of: $0), capacity: 0) }
        }
        let found: [FoundServer]
        do throws(NetworkError) {
            found = try await search(for: volume, wanted: remembered.count == 1 ? remembered[0] : nil)
        } catch {
            throw .network(error)
        }
        if !remembered.isEmpty {
            return remembered.map { id in
                server(id, nil, found.first { $0.server == id }?.endpoints ?? pins.endpoints(of: id), capacity: 0)
            }
        }
        let holders = found.filter(\.holdsVolume)
        if !holders.isEmpty { return holders.map { server($0) } }
        guard create else { throw found.isEmpty ? .noServer : .unknownVolume(volume) }
        guard let roomiest = found.max(by: { $0.free < $1.free }) else { throw .noServer }
        return [server(roomiest)]
    }

    /// For a volume that is open.
    public var surroundings: Surroundings {
        Surroundings(
            resolve: { [self] in await endpoints(of: $0) },
            look: { [self] in ((try? await search()) ?? []).map { server($0) } })
    }

    private func endpoints(of id: ServerID) async -> [Endpoint] {
        let found = try? await search(wanted: id)
        return found?.first { $0.server == id }?.endpoints ?? []
    }

    private func lastServers(of volume: VolumeID) throws(VolumeError) -> [ServerID] {
        do throws(LocalFileError) {
            return try RootMemory(volume: volume, directories: directories).servers
        } catch {
            throw .local(error)
        }
    }

    /// `--server HOST:PORT`: whoever proves a key there.
    private func namedServer() async throws(VolumeError) -> VolumeServer? {
        let endpoints = hosts.compactMap { host in host.port.map { Endpoint(host: host.name, port: $0) } }
        guard !endpoints.isEmpty else { return nil }
        do throws(NetworkError) {
            let connection = try await RPCConnection.connect(to: endpoints, server: nil, pins: pins, group: group)
            defer { connection.close() }
            return server(connection.server, nil, endpoints, capacity: 0)
        } catch {
            throw .network(error)
        }
    }

    func server(_ found: FoundServer) -> VolumeServer {
        server(found.server, found.name, found.endpoints, capacity: found.capacity)
    }

    private func server(
        _ id: ServerID, _ name: String?, _ endpoints: [Endpoint], capacity: UInt64
    ) -> VolumeServer {
        VolumeServer(
            server: id, name: name ?? fingerprint(of: id.bytes), endpoints: endpoints, capacity: capacity,
            resolve: { [self] in await self.endpoints(of: id) })
    }
}

/// The hash of discovery tokens, which needs no key.
struct RecordHasher: RecordVerifier {
    func hash(_ bytes: [UInt8]) -> RecordHash { bytes.withUnsafeBytes { RecordHash(hashing: $0) } }

    func isValid(signature: [UInt8], of message: [UInt8], by volume: VolumeID) -> Bool {
        SigningKey.verify(signature: signature, message: message, publicKey: volume.bytes)
    }
}
