import LanfsFileSystem
import SystemPackage
import Testing

/// What a name of the table stands for. `full` has an entry `inner`, which is a file.
enum Thing: String, CaseIterable, Sendable {
    case nothing, file, link, empty, full
}

struct RenameCase: Sendable, CustomTestStringConvertible {
    let source: Thing
    let target: Thing
    let mode: RenameMode
    let crosses: Bool

    var testDescription: String { "\(source) to \(target), \(mode)\(crosses ? ", to another directory" : "")" }

    static let all: [RenameCase] = Thing.allCases.flatMap { source in
        Thing.allCases.flatMap { target in
            [RenameMode.replace, .noReplace, .exchange].flatMap { mode in
                [false, true].map { RenameCase(source: source, target: target, mode: mode, crosses: $0) }
            }
        }
    }

    var expected: Errno? {
        if source == .nothing { return .noSuchFileOrDirectory }
        switch (mode, target) {
        case (.noReplace, .nothing), (.replace, .nothing): return nil
        case (.noReplace, _): return .fileExists
        case (.exchange, .nothing): return .noSuchFileOrDirectory
        case (.exchange, _): return nil
        // `link` is a second name of `file`: nothing happens.
        case (.replace, .file), (.replace, .link):
            return source == .empty || source == .full ? .notDirectory : nil
        case (.replace, .empty): return source == .empty || source == .full ? nil : .isDirectory
        case (.replace, .full): return source == .empty || source == .full ? .directoryNotEmpty : .isDirectory
        }
    }
}

@Suite("Rename")
struct RenameTests {
    @Test("does or refuses what POSIX says, in every combination", arguments: RenameCase.all)
    func table(_ rename: RenameCase) throws {
        let volume = try Volume()
        let here = try volume.makeDirectory("here")
        let there = rename.crosses ? try volume.makeDirectory("there") : here
        let shared = try volume.create("shared")
        let source = try make(rename.source, "source", in: here, shared, volume)
        let target = try make(rename.target, "target", in: there, shared, volume)
        let before = try volume.records()
        volume.now += 1

        let outcome = Result { () throws(Errno) in
            try volume.rename("source", in: here, to: "target", under: there, mode: rename.mode)
        }

        #expect(try volume.check() == [])
        if let expected = rename.expected {
            #expect(throws: expected) { try outcome.get() }
            #expect(try volume.records() == before, "a refused operation changes nothing")
            return
        }
        if source == target {
            #expect(try volume.records() == before, "two names of one file stay")
            return
        }
        #expect(try volume.lookup("target", in: there).inode == source)
        let left = try? volume.lookup("source", in: here).inode
        #expect(left == (rename.mode == .exchange ? target : nil))
        #expect(try volume.attributes(here).modified == volume.caller.now)
        #expect(try volume.attributes(there).changed == volume.caller.now)
        if let source { #expect(try volume.attributes(source).changed == volume.caller.now) }
    }

    private func make(
        _ thing: Thing, _ name: String, in parent: InodeNumber, _ shared: InodeNumber, _ volume: Volume
    ) throws(Errno) -> InodeNumber? {
        switch thing {
        case .nothing: return nil
        case .file: return try volume.create(name, in: parent)
        case .link: return try volume.link(shared, to: name, in: parent).inode
        case .empty: return try volume.makeDirectory(name, in: parent)
        case .full:
            let directory = try volume.makeDirectory(name, in: parent)
            try volume.create("inner", in: directory)
            return directory
        }
    }

    @Test("refuses to move a directory into itself or below, at any depth", arguments: [1, 2, 40])
    func intoDescendant(depth: Int) throws {
        let volume = try Volume()
        let top = try volume.makeDirectory("top")
        var bottom = top
        for level in 1..<depth { bottom = try volume.makeDirectory("d\(level)", in: bottom) }
        #expect(throws: Errno.invalidArgument) { try volume.rename("top", to: "x", under: bottom) }
        try volume.create("x", in: bottom)
        #expect(throws: Errno.invalidArgument) {
            try volume.rename("top", to: "x", under: bottom, mode: .exchange)
        }
        #expect(throws: Errno.invalidArgument) {
            try volume.rename("x", in: bottom, to: "top", mode: .exchange)
        }
        #expect(try volume.check() == [])
    }

    @Test("onto a directory above is refused as not empty")
    func ontoAncestor() throws {
        let volume = try Volume()
        let top = try volume.makeDirectory("top")
        let middle = try volume.makeDirectory("middle", in: top)
        try volume.makeDirectory("bottom", in: middle)
        #expect(throws: Errno.directoryNotEmpty) { try volume.rename("bottom", in: middle, to: "top") }
        #expect(throws: Errno.isDirectory) {
            try volume.create("file", in: middle)
            try volume.rename("file", in: middle, to: "top")
        }
    }

    @Test("of directories moves the parents' link counts and `..`, exchanges included")
    func links() throws {
        let volume = try Volume()
        let left = try volume.makeDirectory("left")
        let right = try volume.makeDirectory("right")
        let child = try volume.makeDirectory("child", in: left)
        try volume.create("file", in: right)
        try volume.rename("child", in: left, to: "file", under: right, mode: .exchange)
        #expect(try volume.attributes(left).linkCount == 2)
        #expect(try volume.attributes(right).linkCount == 3)
        #expect(try volume.lookup("..", in: child).inode == right)
        let other = try volume.makeDirectory("other", in: left)
        try volume.rename("file", in: right, to: "other", under: left, mode: .exchange)
        #expect(try volume.lookup("..", in: child).inode == left)
        #expect(try volume.lookup("..", in: other).inode == right)
        #expect(try volume.attributes(left).linkCount == 3)
        #expect(try volume.attributes(right).linkCount == 3)
        #expect(try volume.check() == [])
    }

    @Test("over an open file keeps the file until it is closed")
    func overOpenFile() throws {
        let volume = try Volume()
        let old = try volume.create("old")
        _ = try volume.write(old, offset: 0, [1, 2, 3])
        try volume.create("new")
        volume.open.insert(old)
        let removal = try volume.rename("new", to: "old")
        #expect(removal == Removal(inode: old, type: .regular, linkCount: 0, isGone: false))
        #expect(try volume.contents(old) == [1, 2, 3])
        #expect(try volume.check() == [])
        try volume.release(old)
        #expect(throws: Errno.staleNFSFileHandle) { try volume.attributes(old) }
        #expect(try volume.check() == [])
    }

    @Test("notices a loop of directories in a damaged volume and ends")
    func damagedLoop() throws {
        let volume = try Volume()
        let first = try volume.makeDirectory("first")
        let second = try volume.makeDirectory("second", in: first)
        try volume.makeDirectory("third")
        try volume.damage(first) { $0.parent = second }
        #expect(throws: Errno.ioError) { try volume.rename("third", to: "x", under: second) }
    }
}
