import CRIProtocol
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct CapabilitySetTests {
  private static let all = CapabilitySet(mask: (1 << 41) - 1)

  private static func sets(
    add: [String] = [], drop: [String] = [], ambient: [String] = [], available: CapabilitySet = all,
    privileged: Bool = false
  ) throws -> ProcessCapabilities {
    var request = Runtime_V1_Capability()
    request.addCapabilities = add
    request.dropCapabilities = drop
    request.addAmbientCapabilities = ambient
    return try ProcessCapabilities(request, available: available, isPrivileged: privileged)
  }

  @Test func nothingAskedGivesTheStandardFourteen() throws {
    #expect(try Self.sets().all.mask.nonzeroBitCount == 14)
    #expect(try Self.sets().all == .standard)
    #expect(try Self.sets().ambient == .none)
  }

  @Test func addAndDropAcceptAnyCaseAndPrefix() throws {
    let set = try Self.sets(add: ["cap_net_admin", "SYS_TIME"], drop: ["Chown"]).all
    #expect(set.contains("NET_ADMIN") && set.contains("SYS_TIME") && !set.contains("CHOWN"))
  }

  /// Added, dropped, what remains.
  static let orders: [([String], [String], UInt64)] = [
    (["NET_BIND_SERVICE"], ["ALL"], 1 << 10),
    (["ALL"], ["all"], 0),
    (["ALL"], ["CAP_SYS_ADMIN"], all.mask & ~(1 << 21)),
    (["cap_all"], [], all.mask),
    (["SYS_ADMIN", "SYS_TIME"], ["SYS_TIME", "ALL"], 1 << 21),  // a single drop wins over a single add
    (["ALL", "SYS_TIME"], ["ALL"], 1 << 25),
  ]

  @Test(arguments: orders.indices)
  func allComesFirstThenSingleAddsThenSingleDrops(_ index: Int) throws {
    let (add, drop, mask) = Self.orders[index]
    #expect(try Self.sets(add: add, drop: drop).all.mask == mask)
  }

  @Test func allIsWhatTheNodeCanGive() throws {
    let withoutBPF = CapabilitySet(mask: Self.all.mask & ~(1 << 39))
    #expect(try Self.sets(add: ["ALL"], available: withoutBPF).all == withoutBPF)
    #expect(throws: RuntimeError.self) { try Self.sets(add: ["BPF"], available: withoutBPF) }
  }

  @Test func ambientOnesAreInAllSets() throws {
    let sets = try Self.sets(drop: ["ALL"], ambient: ["net_bind_service", "CAP_SYS_TIME"])
    #expect(sets.all.mask == 1 << 10 | 1 << 25 && sets.ambient == sets.all)
    #expect(try Self.sets(drop: ["SYS_TIME"], ambient: ["SYS_TIME"]).ambient == .none)
    #expect(try Self.sets(drop: ["ALL"], ambient: ["ALL"]).ambient == .none)
    #expect(try Self.sets(ambient: ["ALL"]).ambient == .standard)
    #expect(try Self.sets(ambient: ["SYS_TIME"], privileged: true).ambient.mask == 1 << 25)
  }

  @Test(arguments: ["add_capabilities", "drop_capabilities", "add_ambient_capabilities"], [false, true])
  func unknownNamesAreNamedWithTheirField(_ field: String, privileged: Bool) {
    for name in [
      "FLY", "", "CAP_", "CAP_CAP_CHOWN", "CHOWN ", "ſYS_ADMIN", "41", String(repeating: "X", count: 10_000),
    ] {
      let lists = ["add_capabilities", "drop_capabilities", "add_ambient_capabilities"].map {
        $0 == field ? [name] : []
      }
      #expect {
        try Self.sets(add: lists[0], drop: lists[1], ambient: lists[2], privileged: privileged)
      } throws: { error in
        "\(error)".contains(".\(field): unknown capability \"\(name.prefix(64))\"") && "\(error)".utf8.count < 300
      }
    }
  }
}

@Suite struct SecurityModulesTests {
  private static func refusal(
    _ modules: SecurityModules, _ change: (inout Runtime_V1_LinuxContainerSecurityContext) -> Void
  ) -> RuntimeError? {
    var security = Runtime_V1_LinuxContainerSecurityContext()
    change(&security)
    do {
      try modules.check(security, context: "c")
      return nil
    } catch {
      return error
    }
  }

  @Test func nothingAskedIsFine() {
    for modules in [SecurityModules(hasAppArmor: false, hasSELinux: false), .init(hasAppArmor: true, hasSELinux: true)]
    {
      #expect(Self.refusal(modules) { _ in } == nil)
      #expect(Self.refusal(modules) { $0.apparmor.profileType = .unconfined } == nil)
      #expect(Self.refusal(modules) { $0.apparmorProfile = "unconfined" } == nil)
      #expect(Self.refusal(modules) { $0.selinuxOptions = .init() } == nil)
      // The structured form wins.
      #expect(
        Self.refusal(modules) {
          $0.apparmor.profileType = .unconfined
          $0.apparmorProfile = "localhost/x"
        } == nil)
    }
  }

  static let asked: [(String, @Sendable (inout Runtime_V1_LinuxContainerSecurityContext) -> Void)] = [
    ("c.apparmor:", { $0.apparmor = .init() }), ("c.apparmor:", { $0.apparmor.profileType = .localhost }),
    ("c.apparmor_profile:", { $0.apparmorProfile = "runtime/default" }),
    ("c.apparmor_profile:", { $0.apparmorProfile = "localhost/x" }),
    ("c.selinux_options.type:", { $0.selinuxOptions.type = "spc_t" }),
    ("c.selinux_options.level:", { $0.selinuxOptions.level = "s0" }),
  ]

  @Test(arguments: asked.indices)
  func whatAsksForOneIsRefused(_ index: Int) {
    let (field, change) = Self.asked[index]
    let without = Self.refusal(SecurityModules(hasAppArmor: false, hasSELinux: false), change)
    #expect(without?.code == .failedPrecondition && without?.message.hasPrefix(field) == true)
    let with = Self.refusal(SecurityModules(hasAppArmor: true, hasSELinux: true), change)
    #expect(with?.code == .unimplemented && with?.message.hasPrefix(field) == true)
  }

  @Test func nonsenseIsInvalid() {
    let none = SecurityModules(hasAppArmor: false, hasSELinux: false)
    #expect(Self.refusal(none) { $0.apparmorProfile = "docker-default" }?.code == .invalidArgument)
    #expect(Self.refusal(none) { $0.apparmor.profileType = .UNRECOGNIZED(9) }?.code == .invalidArgument)
    #expect(
      Self.refusal(none) {
        $0.apparmor.profileType = .unconfined
        $0.apparmor.localhostRef = "x"
      }?.code == .invalidArgument)
  }
}
