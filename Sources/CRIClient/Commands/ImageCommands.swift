import ArgumentParser
import CRIProtocol
import Foundation
import GRPCCore
import Glibc
import SwiftProtobuf

struct Pull: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Fetches an image from its registry; prints its id.")

  @Argument(help: "The image's name, by tag or digest.")
  var image: String

  @Option(
    help: ArgumentHelp(
      "The registry's user and password; - as the password reads it from standard input.",
      valueName: "user:password"))
  var creds: String?

  @OptionGroup var global: GlobalOptions

  func run() async throws {
    let auth = try creds.map { try Self.credentials($0) }
    let reference = try await global.withRuntime { connection in
      try await ImageFetch(connection: connection).pull(image, auth: auth)
    }
    Terminal.current.data(reference)
  }

  static func credentials(_ text: String) throws(ClientError) -> Runtime_V1_AuthConfig {
    guard let colon = text.firstIndex(of: ":"), colon != text.startIndex else {
      throw ClientError(.usage, "cannot use --creds", why: "it must be user:password")
    }
    var password = String(text[text.index(after: colon)...])
    if password == "-" { password = readLine(strippingNewline: true) ?? "" }
    var auth = Runtime_V1_AuthConfig()
    auth.username = String(text[..<colon])
    auth.password = password
    return auth
  }
}

struct Load: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Adds the images of an OCI or docker archive; prints their names and ids.")

  @Argument(help: "The archive, a tar file, plain or compressed; - for standard input.")
  var file: String

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  static let chunkBytes = 1 << 18

  func run() async throws {
    let descriptor = try open()
    defer { if descriptor > 2 { close(descriptor) } }
    let response = try await global.withRuntime { connection in
      do {
        return try await connection.call("load \(file)", waiting: "loading \(file)", deadline: nil) {
          connection, options in
          try await connection.swiftlet.loadImages(options: options) { writer in
            try await Self.send(descriptor, writer)
          }
        }
      } catch let error as ClientError where error.isMissingCall {
        throw ClientError(
          .failed, "cannot load \(file)", why: "the runtime at \(connection.socket.path) takes no archives: CRI cannot",
          remedy: "the runtime's own tool, for containerd `ctr -n k8s.io images import \(file)`")
      }
    }
    var table = Table("IMAGE", "ID")
    for image in response.images {
      for name in image.names.isEmpty ? [""] : image.names {
        table.add(Table.Cell(name), Table.Cell(Humane.shortID(image.id)))
      }
    }
    let images = response.images.map { Value.record(["id": .string($0.id), "names": .strings($0.names)]) }
    try output.print(.list(images), table: table)
  }

  private func open() throws -> Int32 {
    guard file != "-" else { return 0 }
    let descriptor = Glibc.open(file, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ClientError(
        errno == ENOENT ? .notFound : .failed, "cannot open \(file)", why: String(cString: strerror(errno)))
    }
    return descriptor
  }

  private static func send(_ descriptor: Int32, _ writer: RPCWriter<Swiftlet_V1_LoadImagesRequest>) async throws {
    var buffer = [UInt8](repeating: 0, count: chunkBytes)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        throw ClientError(.failed, "cannot read the archive", why: String(cString: strerror(errno)))
      }
      if count == 0 { return }
      try await writer.write(.with { $0.chunk = Data(buffer[..<count]) })
    }
  }
}

struct Images: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Lists the images.")

  @Flag(name: .shortAndLong, help: "Only ids, in full.")
  var quiet = false

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let images = try await global.withRuntime { connection in
      try await ImageFetch(connection: connection).list()
    }
    .sorted { ($0.repoTags.first ?? $0.id) < ($1.repoTags.first ?? $1.id) }
    guard !quiet else {
      for image in images { Terminal.current.data(image.id) }
      return
    }
    var table = Table("IMAGE", "TAG", "ID", "SIZE")
    for image in images {
      for (name, tag) in Self.names(image) {
        table.add(
          Table.Cell(name), Table.Cell(tag), Table.Cell(Humane.shortID(image.id)),
          Table.Cell(Humane.size(bytes: image.size)))
      }
    }
    let values = images.map { image in
      Value.record([
        "id": .string(image.id), "repoTags": .strings(image.repoTags), "repoDigests": .strings(image.repoDigests),
        "size": .int(Int64(clamping: image.size)), "pinned": .bool(image.pinned),
      ])
    }
    try output.print(.list(values), table: table)
  }

  /// One row for each tag; an image without one goes by its digest's repository.
  private static func names(_ image: Runtime_V1_Image) -> [(String, String)] {
    let tagged = image.repoTags.map { reference -> (String, String) in
      guard let colon = reference.lastIndex(of: ":"), !reference[colon...].contains("/") else { return (reference, "") }
      return (String(reference[..<colon]), String(reference[reference.index(after: colon)...]))
    }
    guard tagged.isEmpty else { return tagged }
    let repositories = image.repoDigests.compactMap { $0.split(separator: "@").first.map(String.init) }
    return [(repositories.first ?? "<none>", "<none>")]
  }
}

struct RemoveImage: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "rmi", abstract: "Removes images.")

  @Argument(help: "Names or ids.")
  var images: [String]

  @OptionGroup var global: GlobalOptions

  func run() async throws {
    try await global.withRuntime { connection in
      for image in images {
        guard let found = try await ImageFetch(connection: connection).status(image) else {
          throw ClientError(
            .notFound, "cannot remove image \(image)", why: "there is no such image",
            remedy: "swiftlet images")
        }
        try await connection.call("remove image \(image)") { connection, options in
          _ = try await connection.images.removeImage(.with { $0.image.image = image }, options: options)
        }
        Terminal.current.data(found.id)
      }
    }
  }
}
