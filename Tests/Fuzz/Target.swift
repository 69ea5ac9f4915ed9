import SystemPackage

@testable import LanfsStore

/// One kind of bytes that come from outside, and what the program does with them.
struct Target: Sendable {
    let name: String
    /// Real encodings, the same ones every time.
    let seeds: @Sendable () throws -> [[UInt8]]
    /// Traps when something is wrong; whatever else comes out is fine.
    let run: @Sendable ([UInt8]) -> Void

    static let all: [Target] = [
        .discovery, .request, .response, .record, .keeper, .handshake, .noise, .frames, .keyFile, .keyPhrase,
        .storeParts, .storeFolder, .journal, .node, .changeSet,
    ]

    func writeSeeds(to folder: String) throws {
        let path = FilePath(folder).appending(name)
        try Disk.createDirectories(path)
        for (number, seed) in try seeds().enumerated() {
            try Disk.replace(path.appending("\(number)"), with: seed)
        }
    }
}

/// What must hold of everything a decoder lets through.
func require(_ isTrue: Bool, _ what: @autoclosure () -> String) {
    guard isTrue else { fatalError(what()) }
}

/// Cuts the fuzzer's bytes into what a target needs. Never runs out: what is not there is 0 or empty.
struct Input {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var isEmpty: Bool { rest.isEmpty }

    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    /// Two bytes of length, then that many, or as many as there are.
    mutating func piece() -> [UInt8] {
        let length = Int(byte()) << 8 | Int(byte())
        defer { rest = rest.dropFirst(length) }
        return Array(rest.prefix(length))
    }

    mutating func all() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }
}

/// The opposite of `Input.piece`.
func piece(_ bytes: [UInt8]) -> [UInt8] { [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes }
