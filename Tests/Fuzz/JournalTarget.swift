import LanfsProtocol
import SystemPackage

@testable import LanfsStore

private let journalFiles = ["a/journal.0", "a/journal.1", "b/journal.0", "b/journal.1"]

extension Target {
    /// A keeper's two journals as found on disk: pages of their files. What was recovered must be there again.
    static let journal = Target(
        name: "journal",
        seeds: {
            try [0, 1, 5, 70].map { count in
                let folder = ScratchFolder()
                let journal = try openJournal(folder)
                for number in 0..<count {
                    let block = CarriedBlock(id: sampleID(UInt8(number)), gcEpoch: 3, bytes: [UInt8](repeating: 1, count: 5000))
                    try journal.append(
                        [UInt8](repeating: UInt8(number), count: number == 2 ? 4100 : 5),
                        carrying: number % 2 == 0 ? [block] : [])
                }
                return folder.pages(of: journalFiles)
            }
        },
        run: { bytes in
            let folder = ScratchFolder()
            folder.write(Input(bytes), to: journalFiles)
            do {
                let recovered = try openJournal(folder).recovered
                let again = try openJournal(folder)
                require(again.recovered == recovered, "\(recovered) became \(again.recovered) by opening it")
                try again.append([1, 2, 3])
                try again.append([4, 5])
                let last = try openJournal(folder).recovered
                require(last == .state([4, 5]), "what was appended came back as \(last)")
            } catch {}
        })
}

private func openJournal(_ folder: ScratchFolder) throws(StoreError) -> KeeperJournal {
    try KeeperJournal(
        folders: (folder.path.appending("a"), folder.path.appending("b")), volume: sampleVolume, hash: agreeableHash,
        settle: { blocks, _ in require(blocks.count <= 512 * Limits.carriedBlocks, "\(blocks.count) blocks in two journals") })
}
