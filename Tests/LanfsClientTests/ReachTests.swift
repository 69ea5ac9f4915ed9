import Glibc
import LanfsCrypto
import LanfsNetwork
import LanfsProtocol
import Synchronization
import SystemPackage
import Testing

@testable import LanfsClient

@Suite(.serialized) struct `A volume whose own blocks are on servers that are away` {
    @Test func `is opened when they come back, and says whom it waits for`() async throws {
        let log = LogMemory()
        let cluster = Cluster(log: log)
        let volume = try await cluster.make(of: 0..<3, copies: 1)
        for number in 0..<24 {
            try await volume.put(pattern(3000), as: "\(number)")
            try await volume.save().get()
        }
        #expect(try await volume.close() == nil)
        await cluster.stop(1)
        await cluster.stop(2)
        await #expect {
            _ = try await cluster.open(at: [0], timeout: .seconds(1))
        } throws: { error in
            guard case VolumeError.network(.deadlineExceeded(let names, _)) = error else { return false }
            return names.contains(fingerprint(of: cluster.identity(1).bytes)) && names.contains(fingerprint(of: cluster.identity(2).bytes))
        }
        #expect(log.count(of: "reading waits") == 0)
        async let opened = cluster.open(at: [0])
        try await eventually { log.count(of: "reading waits") > 0 }
        try await cluster.start([1, 2])
        let again = try await opened
        for number in 0..<24 { #expect(try await again.contents(of: "\(number)") == pattern(3000)) }
        #expect(log.count(of: "reading waits") == 1)
        #expect(try await again.close() == nil)
        await cluster.stopAll()
    }
}

@Suite(.serialized) struct `Files of which a part is only on servers that are away` {
    @Test func `are marked when listed, and refused before anything is written`() async throws {
        let cluster = Cluster()
        let volume = try await cluster.make(of: 0..<3)
        try await volume.put(pattern(100), as: "small")
        let count = 24
        for number in 0..<count {
            try await volume.put(pattern(20_000 + number), as: "\(number)")
            // Or many would share a block.
            try await volume.save().get()
        }

        let all = try await volume.listed()
        #expect(all.count == count + 1)
        #expect(all.allSatisfy { $0.awayServers.isEmpty })
        let first = try #require(volume.servers.lane(of: cluster.identity(0)))
        guard case .listed(let stored) = try await volume.blocks.ask(.list(after: nil), of: first).response else {
            throw VolumeError.busy
        }
        let held = Set(stored.map(\.block))
        var lost: Set<VolumePath> = []
        for entry in all where try await !volume.blocks(of: entry.attributes.inode).isSubset(of: held) { lost.insert(entry.path) }
        try #require(!lost.isEmpty && lost.count < count, "each of three servers has two thirds of the blocks")

        // One is away, and every block has a copy elsewhere.
        await cluster.stop(2)
        #expect(try await volume.listed().allSatisfy { $0.awayServers.isEmpty })
        await cluster.stop(1)
        let now = try await volume.listed()
        #expect(Set(now.filter { !$0.awayServers.isEmpty }.map(\.path)) == lost)
        #expect(now.allSatisfy { $0.awayServers.isEmpty || $0.awayServers.count == 2 })

        let folder = cluster.laboratory.folder.appending("got")
        #expect(mkdir(folder.string, 0o700) == 0)
        let skipped = Mutex<Set<TransferPlace>>([])
        let get = Get(
            from: volume, options: TransferOptions(isRecursive: true, replaces: false),
            progress: TransferProgress { event in
                guard case .skipped(.incomplete(let place, let away)) = event else { return }
                #expect(away.count == 2)
                skipped.withLock { _ = $0.insert(place) }
            })
        try await get.run([VolumePath()], to: LocalPath(Array(folder.string.utf8)))
        #expect(skipped.withLock { $0 } == Set(lost.map { .volume($0) }))
        let names = try names(in: folder)
        #expect(names == Set(all.map(\.path)).subtracting(lost).map { String(decoding: $0.name ?? [], as: UTF8.self) }.sorted())

        try await cluster.start([1])
        await volume.servers.connect(2, of: [cluster.identity(0), cluster.identity(1)], until: .now + .seconds(5))
        #expect(try await volume.listed().allSatisfy { $0.awayServers.isEmpty })
        _ = try await volume.close()
        await cluster.stopAll()
    }

    private func names(in folder: FilePath) throws -> [String] {
        let stream = try #require(opendir(folder.string))
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            names.append(withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            })
        }
        return names.filter { $0 != "." && $0 != ".." }.sorted()
    }
}

extension Volume {
    fileprivate func listed() async throws -> [Listed] {
        var all: [Listed] = []
        try await list(VolumePath(), isRecursive: false) { _, entries in all += entries }
        return all
    }
}
