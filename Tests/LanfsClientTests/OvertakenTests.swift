import LanfsProtocol
import Synchronization
import Testing

@testable import LanfsClient

/// L6: what was on its way when the lease was lost is done again on what others made, and in no other way.
@Suite(.serialized) struct `A client that loses its lease in the middle of a commit` {
    /// A cable that was out for an hour: the lease was back before the blocks of the commit were where they had to be. It then went
    /// on top of the other client's root, and took that back for everybody else.
    @Test func `does not put it on top of the root that it went on from meanwhile`() async throws {
        let cluster = Cluster()
        let other = try await cluster.make(of: 0..<3, keepers: 3, witness: 2)
        try await other.put(pattern(5), as: "before")
        try await other.save().get()
        let walls = try await cluster.buildWalls(before: 0..<3)
        let cut = try await cluster.open(at: [0, 1, 2])
        try await cut.put(pattern(6), as: "saved")
        try await cut.save().get()
        // Tidying up after that is done: its commits are not to be the one that waits.
        var quietFor = 0
        try await eventually {
            quietFor = cut.current { $0.hasUncommittedWork } ? 0 : quietFor + 1
            return quietFor > 100
        }

        for wall in walls { wall.freeze(true) }
        // Else what fails below would wait for the commit for ever.
        defer { for wall in walls { wall.freeze(false) } }
        try await cut.put(pattern(7), as: "late")
        async let saved = cut.save()
        try await eventually { cut.current { $0.prepared?.operations == $0.operations } }
        // Once the lease of the first has run out.
        try await other.put(pattern(8), as: "others")
        try await other.save().get()

        // Enough to have the lease and to read what is there, not to store anything.
        for number in [0, 2] { walls[number].freeze(false) }
        try await cut.acquireLease()
        #expect(try await cut.contents(of: "others") == pattern(8))
        walls[1].freeze(false)
        try await saved.get()

        let third = try await cluster.open(at: [0, 1, 2])
        for volume in [other, cut, third] {
            for (name, size) in [("before", 5), ("saved", 6), ("late", 7), ("others", 8)] {
                #expect(try await volume.contents(of: name) == pattern(size), "\(name)")
            }
            _ = try await volume.close()
        }
        await cluster.stopAll()
    }

    /// What was to be done again went into a commit that changed nothing, and was taken for saved.
    @Test func `saves what it had to set aside only once it is done again`() async throws {
        let laptop = Laboratory()
        let desktop = Laboratory(key: laptop.key)
        let server = try await laptop.startServer()
        let wall = try await Wall(before: server.port)
        let first = try await laptop.open(at: server, create: true, through: wall.port)
        try await first.put(pattern(5), as: "before")
        try await first.save().get()
        // Another session on the same machine, so that what is set aside is not taken up while a volume is being opened.
        let again = try await laptop.open(at: server)
        try await first.put(pattern(6), as: "takes the lease")
        wall.freeze(true)
        let count = 1500
        for number in 0..<count { try await first.put(pattern(number), as: "aside \(number)") }
        _ = try #require(try await first.close(patience: .milliseconds(200)))
        let other = try await desktop.open(at: server)
        try await other.put(pattern(7), as: "other")
        try await other.save().get()

        try await again.acquireLease()
        let isOver = Atomic(false)
        async let saves: Void = {
            while !isOver.load(ordering: .relaxed) { try await again.save().get() }
        }()
        try await again.redoSetAside()
        isOver.store(true, ordering: .relaxed)
        try await saves
        for volume in [again, other] {
            #expect(try await volume.contents(of: "other") == pattern(7))
            for number in 0..<count { try #require(try await volume.contents(of: "aside \(number)") == pattern(number)) }
        }
        #expect(try await again.close() == nil)
        #expect(try await other.close() == nil)
        await server.stop()
    }
}

extension Cluster {
    /// What clients that are opened from now on have between them and these servers.
    fileprivate func buildWalls(before numbers: Range<Int>) async throws -> [Wall] {
        var walls: [Wall] = []
        for number in numbers {
            let wall = try await Wall(before: try #require(server(number)).port)
            put(wall.port, before: number)
            walls.append(wall)
        }
        return walls
    }
}
