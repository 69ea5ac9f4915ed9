import LanfsClient
import LanfsCrypto
import LanfsLocal
import LanfsNetwork
import LanfsProtocol

/// `lanfs discover`.
enum Discover {
    static func run(_ options: DiscoverOptions) async throws(CommandError) -> ExitCode {
        var client = ClientOptions()
        client.common = options.common
        client.key = options.key
        client.servers = options.servers
        client.discoveryPort = options.discoveryPort
        let session = ClientSession(client)
        let volume = try volume(session, options)
        var finder = session.finder
        finder.wait = options.wait
        let found: [FoundServer]
        do throws(NetworkError) {
            found = try await finder.search(for: volume, need: options.need?.bytes ?? 0)
        } catch {
            throw CommandError(.noServer, error.description)
        }
        try StandardOutput.print(options.json ? json(found, volume) : table(found, volume))
        guard found.isEmpty else { return .success }
        if options.json || options.common.verbosity == .quiet { return .noServer }
        throw CommandError(
            .noServer,
            options.need == nil
                ? VolumeError.noServer.description
                : "no server with so much room answered; without --need all that answer are shown")
    }

    /// The volume whose holders are marked; none when there is no key to know it by.
    private static func volume(
        _ session: ClientSession, _ options: DiscoverOptions
    ) throws(CommandError) -> VolumeID? {
        do throws(CommandError) {
            return VolumeID(try session.key().volumeID)
        } catch {
            // Looking around needs no key; one that was asked for by name does.
            if options.key == .file(.defaultKey) { return nil }
            throw error
        }
    }

    private static func table(_ found: [FoundServer], _ volume: VolumeID?) -> String {
        guard !found.isEmpty else { return "" }
        var table = TextTable([.left, .left, .right, .right, .right, .left, .left])
        table.add(["NAME", "ADDRESS", "FREE", "CAPACITY", "RTT", "FINGERPRINT", "VOLUME"])
        for server in found {
            table.add([
                Printable.text(Array(server.name.utf8)), server.endpoints.first?.description ?? "",
                HumanSize.compact(server.free), HumanSize.compact(server.capacity), milliseconds(server.roundTrip),
                fingerprint(of: server.server.bytes), volume == nil ? "" : server.holdsVolume ? "yes" : "no",
            ])
        }
        return table.text
    }

    private static func milliseconds(_ duration: Duration) -> String {
        let tenths = duration.components.seconds * 10_000 + duration.components.attoseconds / 100_000_000_000_000
        return "\(tenths / 10).\(tenths % 10)ms"
    }

    private static func json(_ found: [FoundServer], _ volume: VolumeID?) -> String {
        found.map { server in
            let endpoint = server.endpoints.first
            let object = JSONValue.object([
                .init("name", .string(server.name)), .init("fingerprint", .string(fingerprint(of: server.server.bytes))),
                .init("address", endpoint.map { .string($0.host) } ?? .null),
                .init("port", endpoint.map { .integer(Int64($0.port)) } ?? .null),
                .init("free", .unsigned(server.free)), .init("capacity", .unsigned(server.capacity)),
                .init("round_trip_us", .integer(microseconds(server.roundTrip))),
                .init("holds_volume", volume == nil ? .null : .bool(server.holdsVolume)),
            ])
            return object.text + "\n"
        }.joined()
    }

    private static func microseconds(_ duration: Duration) -> Int64 {
        duration.components.seconds * 1_000_000 + duration.components.attoseconds / 1_000_000_000_000
    }
}
