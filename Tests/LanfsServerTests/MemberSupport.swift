import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol
import Testing

@testable import LanfsServer

/// Servers of one volume, all in this process, each with its own data directory and loopback port.
final class Pool {
    let key = VolumeKey.generate()
    private(set) var folders: [TemporaryFolder] = []
    /// `nil`: stopped.
    private(set) var servers: [Server?] = []
    private(set) var ids: [ServerID] = []
    private var addresses: [String] = []
    let replicas: UInt8
    private let discoveryPort: Int
    private let configure: (inout MemberOptions) -> Void

    /// The options are quick; `configure` changes them.
    init(
        _ count: Int, replicas: UInt8 = 2, discoveryPort: Int = 0,
        _ configure: @escaping (inout MemberOptions) -> Void = { _ in }
    ) async throws {
        self.discoveryPort = discoveryPort
        self.replicas = replicas
        self.configure = configure
        for _ in 0..<count { try await add() }
    }

    func add() async throws {
        folders.append(try TemporaryFolder())
        servers.append(nil)
        try await start(servers.count - 1)
        let server = try #require(servers.last ?? nil)
        ids.append(server.identity)
        addresses.append("127.0.0.1:\(server.port)")
    }

    func start(_ index: Int) async throws {
        var options = MemberOptions()
        options.timing.heartbeat = .milliseconds(50)
        options.timing.suspect = .seconds(1)
        options.repair.rate = 1 << 30
        options.repair.passInterval = .milliseconds(300)
        options.repair.shortestPass = .milliseconds(100)
        options.repair.patience = .seconds(1)
        options.repair.answerTime = .milliseconds(500)
        options.surplus.proofTime = .seconds(5)
        options.surplus.retry = .milliseconds(300)
        configure(&options)
        servers[index] = try await startServer(in: folders[index]) {
            $0.members = options
            $0.discoveryPort = discoveryPort
        }
    }

    func stop(_ index: Int) async {
        await servers[index]?.stop()
        servers[index] = nil
    }

    func stopAll() async {
        for index in servers.indices { await stop(index) }
    }

    /// Its disk is lost; who it is, and where, is not.
    func wipe(_ index: Int) throws {
        let new = try TemporaryFolder()
        let path = folders[index].path
        let kept = ["identity.key", "port"]
        for name in kept {
            let bytes = try #require(try PrivateFile.read(path.appending(name), secret: false))
            try write(String(decoding: bytes, as: UTF8.self), to: new.path.appending(name))
        }
        folders[index] = new
    }

    func client(_ index: Int) async throws -> TestClient {
        try await TestClient.open(try #require(servers[index]), key: key)
    }

    func record(
        version: UInt64 = 1, of members: [Int]? = nil, _ states: [Int: Member.State] = [:],
        signedBy signer: VolumeKey? = nil
    ) -> RootRecord {
        let members = (members ?? Array(ids.indices)).map {
            Member(server: ids[$0], state: states[$0] ?? .active, weight: 10)
        }
        let config = VolumeConfig(
            version: version, servers: members, keepers: Keepers([members[0].server]), replicas: replicas)
        let ballot = Ballot(counter: version, proposer: 1)
        return RootRecord(creating: key.id, config: config, contents: [1], ballot: ballot)
            .signed(ballot: ballot, KeySigner(key: (signer ?? key).signingKey))
    }

    var endpoints: [MemberEndpoints] {
        zip(ids, addresses).map { MemberEndpoints(server: $0, addresses: [$1]) }
    }

    func introduce(_ record: RootRecord, to index: Int) async throws -> Response {
        try await client(index).ask(.introduce(record: record, endpoints: endpoints))
    }

    /// To the first server that runs; the others hear of it from that one.
    func introduce(_ record: RootRecord) async throws {
        let first = try #require(servers.firstIndex { $0 != nil })
        #expect(try await introduce(record, to: first) == .done)
    }

    func membership(_ index: Int) async throws -> MembershipStatus? {
        try await client(index).status().membership
    }

    /// Until each of these sees each of them as healthy as this.
    func wait(_ observers: [Int], see health: MemberHealth, _ members: [Int], version: UInt64 = 1) async throws {
        for observer in observers {
            let client = try await client(observer)
            _ = try await eventually { () -> Bool? in
                guard let seen = try await client.status().membership, seen.configVersion == version else { return nil }
                let wanted = members.filter { $0 != observer }.map { ids[$0] }
                let found = seen.members.filter { $0.health == health }.map(\.server)
                return wanted.allSatisfy(found.contains) ? true : nil
            }
        }
    }

    /// Stores each block where it belongs, as a client does.
    func put(_ blocks: [TestBlock], _ record: RootRecord, gcEpoch: UInt64 = 1) async throws {
        let placement = BlockPlacement(record.config)
        for index in servers.indices where servers[index] != nil {
            let client = try await client(index)
            for block in blocks where placement.replicas(of: block.id).contains(ids[index]) {
                #expect(try await client.put(block, gcEpoch: gcEpoch) == .done)
            }
            #expect(try await client.ask(.flush(expecting: [])) == .missing([]))
        }
    }

    func held(_ index: Int) async throws -> [StoredBlock] {
        guard case .listed(let blocks) = try await client(index).ask(.list(after: nil)) else { throw Unexpected() }
        return blocks
    }

    func holders(of block: BlockID) async throws -> Set<Int> {
        var holders: Set<Int> = []
        for index in servers.indices where servers[index] != nil {
            if try await held(index).contains(where: { $0.block == block }) { holders.insert(index) }
        }
        return holders
    }

    /// Until these servers hold exactly this.
    func wait(_ index: Int, holds blocks: Set<BlockID>) async throws {
        _ = try await eventually { try await Set(held(index).map(\.block)) == blocks ? true : nil }
    }

    /// What the server holds when all copies are where they belong while these are lost.
    func share(_ index: Int, of blocks: [TestBlock], _ record: RootRecord, lost: Set<Int> = []) -> Set<BlockID> {
        let placement = BlockPlacement(record.config)
        return Set(
            blocks.map(\.id).filter { block in
                placement.ranking(of: block).filter { id in !lost.contains { ids[$0] == id } }.prefix(Int(replicas))
                    .contains(ids[index])
            })
    }
}
