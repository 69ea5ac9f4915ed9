import Glibc
import Testing

/// Three minutes, most of which pass between looks around that clients take every half a minute.
private let isWanted: Bool = {
    if getenv("LANFS_LONG") != nil { return true }
    print("snapshots of three real hosts are not tested: it takes three minutes; with LANFS_LONG=1 they are")
    return false
}()

@Suite("What a recovery by force left behind", .serialized, .enabled(if: Lan.canBeMade && isWanted))
struct SnapshotTests {
    @Test("is read from a snapshot once two of three servers are back, byte for byte, until it is dropped")
    func twoOfThree() throws {
        // The first has a copy of everything that it hears of: at first all have, and then it is the largest by far.
        let serve = [["--capacity", "400T"], ["--capacity", "1G"], ["--capacity", "1G"]]
        try onLan(servers: 3, serve: serve, mount: ["--replicas", "3"], limit: .seconds(400)) { lan in
            let host = lan.client
            try waitUntilWhole(host, keepers: 3)
            let (shared, beyond) = (randomBytes(3_000_000, seed: 1), randomBytes(5_000_000, seed: 2))
            try writeFile(host("shared"), shared, sync: true)
            try waitUntilWhole(host, keepers: 3)
            try host.unmount()
            try host.startMount(["--replicas", "2"])
            try lan.set(.cut, of: 0)
            try writeFile(host("beyond"), beyond, sync: true)
            try host.unmount()
            for server in 1...2 { try lan.servers[server].killServer() }
            try lan.set(.whole, of: 0)

            try host.startMount(["--recover-force"])
            try #require(!exists(host("beyond")))
            try #require(try contents(host("shared")) == shared)
            try check(unlink(host("shared")))
            try writeFile(host("after"), beyond, sync: true)
            let alone = try host.lanfs("status").text
            try #require(alone.contains("space of older data is held back"), "\(alone)")

            for server in 1...2 { try lan.servers[server].startServer(serve[server] + ["--name", "server\(server)"]) }
            // Whoever has the lease looks around every half a minute.
            let isKept = eventually(.seconds(90), every: 300_000) {
                try? writeFile(host("tick"), [1], sync: true)
                return host.mountLog.contains("It is kept as the snapshot ")
            }
            try #require(isKept)
            let status = try host.lanfs("status", "--json").text
            let name = try #require(
                status.split(separator: "\"snapshots\":[\"").dropFirst().first?.prefix { $0 != "\"" }.description, "\(status)")
            try requireReadable(host, name, ["beyond": beyond, "shared": shared])

            let refused = try host.lanfs("rm", "--snapshot", name)
            try #require(refused.status == 1 && refused.errors.contains("drain --cancel"), "\(refused.errors)")
            for server in 1...2 {
                let back = try host.lanfs("drain", "--cancel", "server\(server)")
                try #require(back.status == 0, "\(back.errors)")
            }
            var errors = ""
            let isDropped = eventually(.seconds(120), every: 1_000_000) {
                try? writeFile(host("tick"), [1], sync: true)
                let dropped = try? host.lanfs("rm", "--snapshot", name)
                errors = dropped?.errors ?? ""
                return dropped?.status == 0
            }
            try #require(isDropped, "\(errors)")
            let whole = try host.lanfs("status", "--json").text
            try #require(whole.contains("\"snapshots\":[]") && whole.contains("\"space_held_back\":false"), "\(whole)")
            let gone = try host.lanfs("ls", "--snapshot", name)
            try #require(gone.status == 4, "\(gone.errors)")
            try #require(try contents(host("after")) == beyond)
        }
    }

    /// All three vote, and every block has its copies.
    private func waitUntilWhole(_ host: Host, keepers: Int) throws {
        var text = ""
        let isWhole = eventually(.seconds(120), every: 500_000) {
            try? writeFile(host("tick"), [1], sync: true)
            text = (try? host.lanfs("status", "--json").text) ?? ""
            return text.split(separator: "\"keeper\":true").count == keepers + 1 && text.contains("\"missing_copies\":0")
        }
        try #require(isWhole, "\(text)")
    }

    private func requireReadable(_ host: Host, _ name: String, _ files: [String: [UInt8]]) throws {
        let listed = try host.lanfs("ls", "--snapshot", name)
        try #require(listed.status == 0 && listed.text.contains("beyond") && !listed.text.contains("after"), "\(listed.errors)")
        for (file, bytes) in files {
            let got = try host.lanfs("get", "--snapshot", name, file, host.local(file))
            try #require(got.status == 0, "\(got.errors)")
            try #require(try contents(host.local(file)) == bytes)
        }
        guard let binary else { throw Failure("no lanfs executable") }
        let folder = host.local("snapshot")
        try check(mkdir(folder, 0o700))
        let mounted = try host.run(
            [binary, "mount", "--discovery-port", "\(host.discoveryPort)", "--snapshot", name, folder])
        try #require(mounted.status == 0, "\(mounted.errors)")
        defer { _ = try? host.run(["umount", folder]) }
        for (file, bytes) in files { try #require(try contents(folder + "/" + file) == bytes) }
        try #require(failure { try writeFile(folder + "/new", [1]) } == .readOnlyFileSystem)
    }
}
