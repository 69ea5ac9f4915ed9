import Glibc

/// fsync of a folder, which on lanfs makes everything before it durable; prints the seconds it took. Arguments: FOLDER.
enum Syncing {
    static func run(_ arguments: inout Arguments) throws(Failure) {
        let start = now()
        let folder = try File(try arguments.text(), O_RDONLY | O_DIRECTORY)
        try folder.sync()
        try folder.close()
        print(now() - start)
    }
}
