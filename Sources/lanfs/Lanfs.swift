@main
struct Lanfs {
    static func main() async {}
}
