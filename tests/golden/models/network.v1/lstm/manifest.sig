weir-sign1
wQÍ©šYQ"D(/ÈSk7Ê\¸¥DÉôQ$àb”jØ
VCùş™F‡P¥uÏW±¨Ö	¬[e¦Dãmìûíùt¡áV