import CLinux
import Glibc
import SystemPackage

/// Both journals, open for writing past the page cache.
struct JournalPair {
    /// One flush of the disk makes what was written to both durable. Otherwise each write is its own flush; on one disk the
    /// second of the two waits for the first, which takes as long as the rest of the commit's way to the disk.
    let sharesFlush: Bool
    private let journals: (JournalFolder, JournalFolder)

    init(_ folders: (FilePath, FilePath)) throws(StoreError) {
        let direct = O_RDWR | LANFS_O_DIRECT
        if let journals = try JournalPair.open(folders, direct),
            journals.0.file(0).shareFlush(with: journals.1.file(0)), journals.0.file(1).shareFlush(with: journals.1.file(1))
        {
            (sharesFlush, self.journals) = (true, journals)
            return
        }
        sharesFlush = false
        if let journals = try JournalPair.open(folders, direct | O_DSYNC) {
            self.journals = journals
        } else {
            let buffered = O_RDWR | O_DSYNC
            journals = (try JournalFolder(folders.0, buffered), try JournalFolder(folders.1, buffered))
        }
    }

    /// `nil` where the file system always goes through the page cache.
    private static func open(
        _ folders: (FilePath, FilePath), _ flags: Int32
    ) throws(StoreError) -> (JournalFolder, JournalFolder)? {
        do throws(StoreError) {
            return (try JournalFolder(folders.0, flags), try JournalFolder(folders.1, flags))
        } catch {
            guard error.errno == .invalidArgument else { throw error }
            return nil
        }
    }

    /// The files of a generation.
    func files(_ generation: UInt64) -> (OpenFile, OpenFile) {
        (journals.0.file(generation), journals.1.file(generation))
    }
}
