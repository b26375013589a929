"""In Japanese."""

from __future__ import annotations

JAPANESE = {
    "comma": "、",
    "name": "「{name}」",
    "and_more": "ほか{count}件",
    # ---- the verdict
    "verdict_usable": "そのまま学習に使えます。",
    "verdict_look": "学習に使えますが、先に下の点を確認してください。",
    "verdict_unusable": "このままでは学習に使えません。",
    "counts": "見つかった画像 {images} 枚：使用可 {usable} 枚、完全な重複として除外 {duplicate} 枚、"
    "隔離 {quarantined} 枚。",
    "split_made": "使用可の画像のうち {train} 枚を学習用、{held_out} 枚を評価用とします。クラスごとに無作為に選び、"
    "関連する画像は同じ側にまとめました。",
    "split_kept": "使用可の画像のうち {train} 枚が学習用、{held_out} 枚が評価用です（元データの指定どおり）。",
    "untouched": "元のファイルの削除・移動・変更は一切していません。出力フォルダーには一覧だけがあります。",
    # ---- points, most serious first
    "point_no_split": "使用可の画像 {usable} 枚を学習用と評価用に分けられません。それぞれ2枚以上必要で、"
    "関連する画像は分けられません。画像を追加してください。",
    "point_no_split_of_classes": "使用可の画像 {usable} 枚（{classes} クラス）を学習用と評価用に分けられません。"
    "それぞれ2枚以上、さらに各クラスに学習用が1枚必要で、関連する画像は分けられません。"
    "画像を追加するか、枚数の少ないクラスをまとめてください。",
    "point_lost_classes": "{names}には使用可の画像が残っていません。画像を直すか追加するまで、"
    "このクラスは除外されます。",
    "point_wrong_label": "{count} 枚は、まったく同じ画像に別のラベルが付いています。"
    "どちらかを正しいクラスへ移すか削除するまで、両方とも除外します。",
    "point_leakage": "元データの分割では、{count} 件で同じものが学習用と評価用の両方に入っています。"
    "そのままでは評価が実力より良く見えます。出力の一覧では、評価用の {moved} 枚を学習用に移しました。",
    "point_unreadable": "{count} 個のファイルは画像として読めません。元の場所からコピーし直すか、削除してください。",
    "point_out_of_reach": "{count} 個のファイルは、今回は読めませんでした（ファイルがない、権限がない、または書き込み中）。"
    "直してから、同じコマンドをもう一度実行してください。",
    "point_too_large": "{count} 枚は画素数が上限を超えています。本物のスキャン画像なら --max-megapixels を大きくしてください。",
    "point_blank": "{count} 枚には何も写っていません（全画素が同じ値です）。",
    "point_too_dark": "16ビットグレースケールの {count} 枚は最大値が {peak} しかなく、ほぼ真っ黒として読み込まれます。"
    "センサーのビット数が少ない場合は、--white-level {better} を付けてもう一度実行してください。",
    "point_too_small": "{count} 枚は {side} 画素より小さく、拡大しなければ使えません。",
    "point_not_listed": "元データの {count} 件は使えませんでした。理由は quarantine.csv にあります。",
    "point_near_other_label": "{count} 組は、よく似ているのにラベルが違います。"
    "どちらかのラベルが誤りでないか確認してください。",
    "point_few_of_class": "{names}の使用可の画像は10枚未満です。学習にも評価にも少なすぎます。",
    "point_not_held_out": "{names}には評価用の画像がなく、このクラスの評価ができません。",
    "point_unbalanced": "最も多いクラスの画像は、最も少ないクラスの {ratio} 倍あります。--data.balance で、"
    "学習時に少ないクラスを多めに見せられます。",
    "point_other_pictures": "{count} 個のファイル（{kinds}）は、読めない種類の画像です。学習に使うなら、"
    "PNG、JPEG、TIFFのいずれかで保存してください。",
    "point_few_images": "学習用の画像が {count} 枚しかありません。新しい画像よりも、"
    "学習画像の写しが多く生成されるおそれがあります。",
    "point_duplicates": "{count} 個のファイルは、別のファイルと画素が完全に同じです。それぞれ1枚だけを残します。",
    "point_near": "{images} 枚（{count} 組）は、互いの写しのように見えます（縮小、再圧縮、明るさの変更、回転、"
    "反転、"
    "切り抜きなど）。除外はせず、組ごとに学習用か評価用の同じ側へまとめます。",
    # ---- the sheet
    "title": "コンタクトシート：{source}",
    "subtitle": "フォルダーの中身、問題点、次にすること",
    "heading_verdict": "結論",
    "heading_next": "次のコマンド",
    "heading_key": "主な数値",
    "heading_classes": "クラス",
    "heading_images": "画像",
    "heading_quarantine": "隔離した画像",
    "heading_source": "元データの読み取り方",
    "source_notes": "解釈",
    "source_others": "画像として読まないファイル",
    "source_skipped": "使えなかった項目",
    "heading_exact": "完全な重複",
    "heading_near": "よく似た画像",
    "heading_leakage": "学習用と評価用にまたがるもの",
    "heading_sizes": "画像の大きさ",
    "heading_advice": "推奨する設定とその理由",
    "card_found": "見つかった画像",
    "card_usable": "使用可",
    "card_usable_detail": "全体の {share} %",
    "card_duplicate": "除外した完全な重複",
    "card_quarantined": "隔離",
    "card_near": "写しのように見える画像",
    "card_near_detail": "{clusters} 組",
    "card_split": "学習用 / 評価用",
    "classes_intro": "棒は各クラスの使用可の枚数、灰色は除外した枚数です。右は無作為に選んだ例です。",
    "classes_cut": "全 {count} クラスのうち、枚数の少ないものと多いもの {shown} クラスを示します。",
    "images_intro": "使用可の画像から無作為に選んだ例です。",
    "quarantine_intro": "学習から除外した画像です。ファイルは元の場所にそのままあります。"
    "全件は quarantine.csv にあります。",
    "more_shown": "{count} 件のうち {shown} 件を示します。",
    "exact_intro": "名前や形式が違っても画素が同じファイルです。先頭の1枚を残し、ほかを除外します。",
    "near_intro": "周囲の画像どうしの違いの12分の1未満しか違わない画像です。目で確かめてください。"
    "クラス分けのないフォルダーでは、数枚しかない品種の別の部品の写真が含まれることもあります。"
    "全件は near_duplicates.csv にあります。",
    "near_marked": "橙色の枠は、ラベルが違う画像です。",
    "leakage_intro": "元データの分割では、次のものが両側に入っています。片側を見たモデルは、もう片側を知っています。",
    "kept": "残す",
    "left_out": "除外",
    "column_kind": "共通点",
    "column_train": "学習用",
    "column_held_out": "評価用",
    "column_class": "クラス",
    "column_count": "使用可",
    "column_smallest": "最小",
    "column_median": "中央値",
    "column_largest": "最大",
    "row_width": "幅（画素）",
    "row_height": "高さ（画素）",
    "row_aspect": "幅 ÷ 高さ",
    "sizes_bars": "短辺の長さ（画素）ごとの枚数",
    "leak_group": "同じグループ",
    "leak_exact": "同じ画素",
    "leak_side": "{names}",
    "leak_near": "よく似た画像",
    "advice_resolution": "解像度",
    "advice_own_size": "画像の元の大きさ",
    "advice_pixels": "{side} × {side} 画素",
    "advice_fit": "正方形にする方法",
    "advice_channels": "チャンネル",
    "advice_augment": "データ拡張",
    "advice_balance": "クラスの均衡",
    "advice_recipe": "レシピ",
    "advice_batch": "1ステップの枚数",
    "advice_steps": "ステップ数",
    "limits": "ここでは判定していないもの：ピント、露出、構図、および（同じ画像による矛盾がない限り）ラベルの正しさ。",
    # ---- why
    "why_own_size": "このレシピは画像を元の大きさのまま使います。",
    "why_resolution_asked": "指定された値です。拡大せずに使える大きさは {allowed} 画素までです。",
    "why_resolution_too_large": "指定された値ですが、多くの画像より大きい値です。"
    "拡大せずに使えるのは {allowed} 画素までです。",
    "why_resolution_of_recipe": "レシピの標準です。拡大せずに使えるのは {allowed} 画素までです。"
    "画素数が増えるほど学習時間が延びます。",
    "why_resolution_allowed": "ほとんどの画像を拡大せずに済む、標準的な最大の大きさです。",
    "why_kept": "{resolution} 画素では、画像の濃淡の変化の {kept} % が残ります。それより細かい部分は失われます。",
    "why_tiles": "{side} 画素のスキャンを {resolution} 画素に縮めると細部の大半が失われます。タイルに切れば残ります。"
    "小さな欠陥はタイルでしか残りません。",
    "why_pad": "中央の正方形だけを使うと、典型的な画像の {lost} % が切り落とされます。余白を足せば全体が残ります。",
    "why_crop": "中央の正方形を使います。切り落とされる部分はわずかです。",
    "why_batch_usual": "レシピの標準です。",
    "why_batch_smaller": "レシピの標準は {usual} ですが、異なる画像どうしを関係づけて学習するため、"
    "学習用 {images} 枚の半分以下にします。",
    "why_passes": "レシピの標準です。学習用の {images} 枚をそれぞれ約 {passes} 回使います。",
    "why_grey": "すべての画像がグレーなので、1チャンネルで足ります。",
    "why_balance": "学習用の画像は、最も多いクラスが最も少ないクラスの {ratio} 倍あります。少ないクラスを多めに見せますが、"
    "一部の画像ばかりを見せるほどにはしません（docs/loading.md）。",
    "why_augment": "少ない画像を何度も使うと、モデルが画像を丸暗記することがあります。データ拡張はそれを遅らせ、"
    "生成画像には現れません。ここでは photos、真上から撮った部品のように左右・上下に意味がなければ parts が適しています。"
    "何ステップで多すぎるかは測定していません。生成画像を見て、学習画像の写しが多ければ"
    "ステップ数（--optimiser.steps）を減らしてください。",
    # ---- reasons of quarantine
    "reason_missing": "ファイルがない",
    "reason_forbidden": "読み取り権限がない",
    "reason_special_file": "通常のファイルではない",
    "reason_empty": "空のファイル",
    "reason_changing": "走査中に書き込まれた",
    "reason_truncated": "ファイルが途中で切れている",
    "reason_not_an_image": "画像ではない、または読めない種類",
    "reason_damaged": "ファイルの破損",
    "reason_too_large": "画素数が上限を超えている",
    "reason_odd_channels": "解釈できない画素値",
    "reason_bad_mask": "マスクが合わない",
    "reason_blank": "何も写っていない",
    "reason_wrong_label": "ラベルの矛盾",
    "reason_too_small": "小さすぎる",
    "fix_missing": "リンクとネットワークドライブを確認し、同じコマンドをもう一度実行してください。",
    "fix_forbidden": "読み取り権限を得てから、同じコマンドをもう一度実行してください。",
    "fix_special_file": "フォルダーから取り除いてください。",
    "fix_empty": "転送が中断したようです。元の場所からコピーし直してください。",
    "fix_changing": "フォルダーへの書き込みが終わってから、同じコマンドをもう一度実行してください。",
    "fix_truncated": "転送が中断したようです。元の場所からコピーし直してください。",
    "fix_not_an_image": "PNG、JPEG、WebP、BMP、TIFFのいずれかで保存するか、削除してください。",
    "fix_damaged": "元の場所からコピーし直すか、画像編集ソフトで開いて保存し直してください。",
    "fix_too_large": "縮小してください。本物のスキャン画像なら --max-megapixels を大きくしてください。",
    "fix_odd_channels": "1チャンネル8または16ビットの、グレー、RGB、RGBAのいずれかで保存してください。",
    "fix_bad_mask": "画像と同じ大きさで、印を付けたい部分が白いマスクを保存してください。",
    "fix_blank": "撮り直すか、削除してください。",
    "fix_wrong_label": "正しいラベルを決め、もう一方のファイルを移すか削除してください。",
    "fix_too_small": "元の大きさの画像を探すか、より小さい --resolution を指定してください。",
    # ---- how near duplicates were changed
    "turn_mirrored": "左右反転",
    "turn_upside_down": "上下反転",
    "turn_turned_180": "180°回転",
    "turn_transposed": "反転と回転",
    "turn_turned_90": "90°回転",
    "turn_turned_270": "90°回転",
    "turn_transverse": "反転と回転",
    "cropped": "切り抜き",
    # ---- peculiarities
    "peculiar_grey": "{count} 枚はグレー、ほかはカラー",
    "peculiar_cmyk": "{count} 枚は印刷用のCMYK（プロファイルがなければ色は近似）",
    "peculiar_alpha": "{count} 枚は透明部分あり（白の上に合成）",
    "peculiar_wide": "{count} 枚は1チャンネル16ビット（8ビットに変換）",
    "peculiar_turned": "{count} 枚はEXIF情報に従って回転",
    "peculiar_profile": "{count} 枚はsRGB以外のカラープロファイル（変換して使用）",
    "peculiar_frames": "{count} 枚は複数のフレームやページを持つファイルの中",
    "peculiar_dark": "{count} 枚は非常に暗い",
    # ---- the terminal
    "sheet_written": "コンタクトシート：{path}",
    "next": "次のコマンド：{command}",
    "reasons_line": "隔離の理由：{reasons}。",
    "reason_count": "{reason} {count} 件",
}
